"""Pictures of one scene are no copies: by real photos, moved, lit and scratched as a fixed camera sees them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vizsla.data.gate import GateOptions
from vizsla.errors import DataError, UsageError
from vizsla.workflow.gate import DataCheck, DataRequest, check_data


def checked(root: Path, **gate) -> DataCheck:
    return check_data(DataRequest(str(root), gate=GateOptions(**gate), with_quality=False))


def found(result: DataCheck) -> dict[str, set[str]]:
    return {finding.id: {file.path for file in finding.files} for finding in result.gated.findings}


def camera(photo: Path, target: Path, count: int, *, scratch: bool = False, cover: int = 0, seed: int = 0) -> None:
    """Pictures of one scene: moved by some pixels, in other light, with noise; ``cover`` hides a square of it."""
    rng = np.random.default_rng(seed + scratch)
    scene = Image.open(photo).convert("RGB").resize((320, 320))
    target.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        dx, dy = (int(v) for v in rng.integers(-4, 5, 2))
        image = scene.transform(scene.size, Image.Transform.AFFINE, (1, 0, dx, 0, 1, dy))
        x, y = (int(v) for v in rng.integers(60, 200, 2))
        if scratch:
            ImageDraw.Draw(image).line([x, y, x + 40, y + 30], fill=(240, 240, 240), width=3)
        if cover:
            colour = tuple(int(v) for v in rng.integers(0, 256, 3))
            ImageDraw.Draw(image).rectangle([x, y, x + cover, y + cover], fill=colour)
        pixels = np.asarray(image).astype(float) * rng.uniform(0.85, 1.15) + rng.normal(0, 6, (320, 320, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(target / f"{number:03}.jpg", quality=88)


def saved_again(file: Path, target: Path) -> None:
    image = Image.open(file)
    buffer = io.BytesIO()
    image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(buffer, "JPEG", quality=70)
    target.write_bytes(buffer.getvalue())


@pytest.fixture
def scene(flowers: Path) -> Path:
    return sorted((flowers / "test/tulip").glob("*.jpg"))[5]


@pytest.fixture
def photos(flowers: Path, tmp_path: Path) -> Path:
    """40 photos each of two classes, none of them a copy of another."""
    root = tmp_path / "photos"
    for label in ("daisy", "sunflower"):
        (root / label).mkdir(parents=True)
        for file in sorted((flowers / "valid" / label).glob("*.jpg"))[:40]:
            shutil.copy(file, root / label)
    return root


def test_a_fixed_camera_takes_no_copies(scene: Path, tmp_path: Path):
    root = tmp_path / "cam"
    camera(scene, root / "ok", 40)
    camera(scene, root / "scratch", 40, scratch=True)
    shutil.copy(root / "ok/003.jpg", root / "ok/same.jpg")
    result = checked(root)
    ids = found(result)
    assert not {"two-labels", "copies-near", "leak-near"} & set(ids)
    assert ids["copies-exact"] == {"ok/003.jpg", "ok/same.jpg"}
    assert len(ids["one-scene"]) > 70
    finding = next(finding for finding in result.gated.findings if finding.id == "one-scene")
    assert finding.severity == "warning"
    assert "one scene, as of a fixed camera, and not copies" in finding.evidence
    assert "group_by" in finding.fix
    assert any(line.startswith("Pictures of one scene: 1 set") for line in result.summary())
    assert result.gated.check() == ()
    assert result.gated.usable.all()


def test_a_fixed_camera_in_given_splits_loses_nothing(scene: Path, tmp_path: Path):
    root = tmp_path / "cam"
    for number, (split, count) in enumerate({"train": 20, "valid": 10, "test": 10}.items()):
        camera(scene, root / split / "ok", count, seed=10 * number)
        camera(scene, root / split / "scratch", count, scratch=True, seed=10 * number)
    result = checked(root)
    assert result.gated.usable.all()
    assert set(found(result)) == {"one-scene"}


def test_a_class_that_lies_in_another_once_more_is_no_scene(photos: Path):
    for file in sorted((photos / "daisy").glob("*.jpg")):
        shutil.copy(file, photos / "sunflower")
    result = checked(photos)
    ids = found(result)
    assert "one-scene" not in ids
    assert len(ids["two-labels"]) == 80
    splits = dict(zip(*_splits(result), strict=True))
    assert all(splits[path] == splits[f"sunflower/{Path(path).name}"] for path in splits if path.startswith("daisy"))


def test_one_class_of_a_fixed_camera_leaves_the_copies_of_others_alone(photos: Path, scene: Path):
    camera(scene, photos / "tulip", 40)
    first = sorted((photos / "daisy").glob("*.jpg"))[0]
    saved_again(first, photos / "daisy/again.jpg")
    result = checked(photos)
    ids = found(result)
    assert ids["copies-near"] == {f"daisy/{first.name}", "daisy/again.jpg"}
    assert all(path.startswith("tulip/") for path in ids["one-scene"])
    assert result.gated.check() == ()


def test_copies_within_a_scene_are_told_where_it_leaves_room(scene: Path, tmp_path: Path):
    root = tmp_path / "belt"
    for number, label in enumerate(("bolt", "nut")):
        camera(scene, root / label, 40, cover=60, seed=100 * number)
    saved_again(root / "bolt/007.jpg", root / "bolt/again.jpg")
    saved_again(root / "nut/009.jpg", root / "nut/again.jpg")
    ids = found(checked(root))
    copies = {"bolt/007.jpg", "bolt/again.jpg", "nut/009.jpg", "nut/again.jpg"}
    assert ids["copies-near"] == copies
    assert "two-labels" not in ids
    splits = {p: s for p, s in zip(*_splits(checked(root)), strict=True) if p in copies}
    assert splits["bolt/007.jpg"] == splits["bolt/again.jpg"]


def _splits(result: DataCheck) -> tuple[list[str], list[int]]:
    dataset = result.gated.facts.dataset
    return list(dataset.paths), dataset.splits.tolist()


def test_bursts_and_augmented_photos_stay_copies(photos: Path):
    """Ten of each photo are no scene: they are far from the other class, and no set is most of theirs."""
    for folder in ("daisy", "sunflower"):
        for file in sorted((photos / folder).glob("*.jpg")):
            image = Image.open(file)
            if int(file.stem[:2], 36) % 2:
                file.unlink()
                continue
            for i in range(3):
                image.point(lambda v, i=i: int(v * (0.94 + 0.03 * i))).save(photos / folder / f"{file.stem}-{i}.jpg")
    result = checked(photos)
    ids = found(result)
    assert "one-scene" not in ids
    assert len(ids["copies-near"]) > 0.9 * len(result.gated.facts.dataset)


def test_two_labels_of_a_few_photos_are_told(photos: Path):
    for file in sorted((photos / "daisy").glob("*.jpg"))[:6]:
        saved_again(file, photos / "sunflower" / f"again-{file.name}")
    ids = found(checked(photos))
    assert len(ids["two-labels"]) == 12
    assert "one-scene" not in ids


def test_the_distance_can_be_chosen(photos: Path):
    first = sorted((photos / "daisy").glob("*.jpg"))[0]
    saved_again(first, photos / "daisy/again.jpg")
    assert "copies-near" in found(checked(photos))
    assert "copies-near" in found(checked(photos, near_copies="24"))
    assert "copies-near" not in found(checked(photos, near_copies="off"))
    assert GateOptions(near_copies="24") == GateOptions(near_copies=24)


@pytest.mark.parametrize("choice", ["on", "33", "-1", "2.5", "", True])
def test_a_choice_that_cannot_be_meant(choice):
    with pytest.raises(UsageError, match=r"near_copies .* is not known") as caught:
        GateOptions(near_copies=choice)
    assert "auto, off, or the most bits of 256" in str(caught.value.allowed)


def test_an_empty_split_names_the_groups_that_emptied_it_and_can_be_drawn_anew(scene: Path, tmp_path: Path):
    root = tmp_path / "cam"
    camera(scene, root / "ok", 30)
    camera(scene, root / "scratch", 30, scratch=True)
    with pytest.raises(DataError) as caught:
        checked(root, near_copies=24).gated.check()
    assert "The valid split is empty: the 30 pictures of 'ok' are kept together as one group" in caught.value.what
    assert "3 groups" in str(caught.value.allowed)
    assert "near_copies='off'" in str(caught.value.do)
    again = checked(root, near_copies="off")
    assert again.gated.check() == ()
    assert again.gated.facts.dataset.counts(again.gated.usable).min() > 0
