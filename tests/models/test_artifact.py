"""The saved model: whole or not at all, verified when read, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import vizsla
from vizsla.errors import ModelError
from vizsla.models import artifact
from vizsla.models.export import ExportedBackbone
from vizsla.models.heads import LinearHead

CLASSES = ["daisy", "rose", "Märzenbecher mit Leerzeichen"]


@pytest.fixture
def saved(tmp_path: Path, tiny_backbone: ExportedBackbone) -> Path:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(len(CLASSES), tiny_backbone.features)).astype(np.float32)
    head = LinearHead(weight, rng.normal(size=len(CLASSES)).astype(np.float32))
    card = artifact.ModelCard(
        classes=CLASSES,
        preprocessing=artifact.PreprocessingCard(**tiny_backbone.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=tiny_backbone.name,
            weights=tiny_backbone.weights,
            sha256=tiny_backbone.sha256,
            features=tiny_backbone.features,
            engine="onnxruntime",
            precision="fp32",
        ),
        head_sha256=hashlib.sha256(artifact.head_bytes(head)).hexdigest(),
        provenance=artifact.Provenance(
            job="train-x", created="now", dataset="x", dataset_sha256="0" * 64, seed=0, versions={}
        ),
    )
    artifact.save(tmp_path / "model", card, tiny_backbone.path, head)
    return tmp_path / "model"


def change_card(folder: Path, **values: object) -> None:
    card = json.loads((folder / "model.json").read_text("utf-8"))
    (folder / "model.json").write_text(json.dumps({**card, **values}), "utf-8")


def test_holds_the_files_of_the_format_and_no_pickle(saved: Path) -> None:
    assert sorted(p.name for p in saved.iterdir()) == ["backbone.onnx", "head.safetensors", "model.json"]
    assert json.loads((saved / "model.json").read_text("utf-8"))["format_version"] == 2


def test_the_backbone_is_shared_and_not_copied(saved: Path, tiny_backbone: ExportedBackbone) -> None:
    assert (saved / "backbone.onnx").stat().st_ino == tiny_backbone.path.stat().st_ino


def test_folder_and_archive_answer_alike(saved: Path, tmp_path: Path, folder_of_photos) -> None:  # type: ignore[no-untyped-def]
    archive = tmp_path / "model.tar.gz"
    artifact.pack(saved, archive)
    photo = next(folder_of_photos().rglob("*.jpg"))
    one, other = vizsla.load(saved).predict(photo), vizsla.load(archive).predict(photo)
    assert np.array_equal(one.probabilities, other.probabilities)
    assert one.label in CLASSES
    assert one.probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert vizsla.load(saved).classes == tuple(CLASSES)


def test_the_same_model_packs_to_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    for name in ("a.tar.gz", "b.tar.gz"):
        artifact.pack(saved, tmp_path / name)
    a, b = ((tmp_path / n).read_bytes() for n in ("a.tar.gz", "b.tar.gz"))
    # The gzip header holds the time and the name of the file; the content must not differ.
    with tarfile.open(fileobj=io.BytesIO(a)) as one, tarfile.open(fileobj=io.BytesIO(b)) as other:
        assert [m.get_info() for m in one] == [m.get_info() for m in other]


def test_saving_again_replaces_the_whole(saved: Path, tiny_backbone: ExportedBackbone) -> None:
    loaded = artifact.load(saved)
    (saved / "stale").write_text("")
    artifact.save(saved, loaded.card, tiny_backbone.path, loaded.head)
    assert not (saved / "stale").exists()
    assert [p.name for p in saved.parent.iterdir() if p.name.startswith(".model")] == []


@pytest.mark.parametrize("name", ["backbone.onnx", "head.safetensors"])
def test_a_changed_file_is_found_by_its_hash(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).unlink()  # the backbone is linked to the cache's
    (saved / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} is not the file that the model was saved with") as error:
        artifact.load(saved)
    assert "fetch an undamaged copy" in str(error.value)


def test_another_format_version_is_named(saved: Path) -> None:
    change_card(saved, format_version=7)
    with pytest.raises(ModelError, match="format version 7; this Vizsla reads versions 1 to 2") as error:
        artifact.load(saved)
    assert "upgrade vizsla" in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ["one"]}, "classes"),
        ({"surprise": 1}, "surprise"),
        ({"head_sha256": "xyz"}, "head_sha256"),
        ({"classes": ["a", "b"]}, "has shape"),
    ],
)
def test_a_card_that_does_not_fit_is_named(saved: Path, change: dict[str, object], words: str) -> None:
    change_card(saved, **change)
    with pytest.raises(ModelError, match=words):
        artifact.load(saved)


def test_a_card_that_is_no_json(saved: Path) -> None:
    (saved / "model.json").write_text("{")
    with pytest.raises(ModelError, match=r"model.json cannot be read"):
        artifact.load(saved)


def test_no_model_there(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(ModelError, match="There is no model here") as error:
        vizsla.load(tmp_path / "nothing")
    assert "vizsla fit" in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds no saved model: model\.json is missing"):
        vizsla.load(tmp_path / "empty")
    (tmp_path / "empty" / "j").mkdir()
    (tmp_path / "empty" / "j" / "job.json").touch()
    with pytest.raises(ModelError, match=rf"name one of the jobs in it; .*serve --models-dir {tmp_path}/empty`"):
        vizsla.load(tmp_path / "empty")
    (saved / "head.safetensors").unlink()
    with pytest.raises(ModelError, match="The model is incomplete"):
        vizsla.load(saved)


def test_archives_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError) as error:
        vizsla.load(path)
    assert error.value.what == "The archive cannot be read: it is no tar archive, or its beginning is broken."
    assert error.value.do == "give a model.tar.gz as `vizsla fit` writes it, or the model's folder"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("other"))
    with pytest.raises(ModelError, match=r"model.json, backbone.onnx, head.safetensors is missing"):
        vizsla.load(path)


def test_a_truncated_archive(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    artifact.pack(saved, path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="The archive cannot be read"):
        vizsla.load(path)


def test_an_archive_of_another_packer_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        member = tarfile.TarInfo("model.json")
        member.size = 1_000_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
    data = bytearray(path.read_bytes())
    data[500_000:500_100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"^The archive cannot be read: Corrupt input data\."):
        vizsla.load(path)


def test_saved_model_is_immutable(saved: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.load(saved).head = None  # type: ignore[misc,assignment]


def test_a_model_that_does_not_prove_itself_is_not_left_behind(
    saved: Path, tmp_path: Path, tiny_backbone: ExportedBackbone
) -> None:
    loaded = artifact.load(saved)

    def prove(written: Path) -> None:
        assert artifact.load(written).card == loaded.card
        raise ModelError("It does not answer what was evaluated.")

    with pytest.raises(ModelError, match="does not answer"):
        artifact.save(tmp_path / "unproven", loaded.card, tiny_backbone.path, loaded.head, prove=prove)
    assert not [path for path in tmp_path.iterdir() if "unproven" in path.name]
