"""Decisions: damaged pictures, leaks, splits that stay, a person's word in the manifest."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vizsla.data import SPLITS, SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import DataError, ImageError, UsageError
from vizsla.workflow.gate import DataRequest, check_data, read_data

GIVEN = {"train": {"a": 12, "b": 12}, "valid": {"a": 4, "b": 4}, "test": {"a": 4, "b": 4}}


def checked(root, seed=0, group_by=None, **gate):
    return check_data(DataRequest(str(root), SourceOptions(group_by=group_by), GateOptions(**gate), seed))


def rows_of(result) -> dict[str, dict]:
    return {row["path"]: row for row in pq.read_table(result.manifest).to_pylist()}


def edit(manifest: Path, path: str, **values) -> None:
    rows = pq.read_table(manifest).to_pylist()
    for row in rows:
        if row["path"] == path:
            row.update(values)
    pq.write_table(pa.Table.from_pylist(rows), manifest)


def truncate(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def test_the_manifest_holds_every_picture(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    (root / "train/a/000.jpg").write_bytes(b"x")
    result = checked(root)
    table = rows_of(result)
    assert len(table) == 40
    row = table["train/b/003.jpg"]
    assert (row["label"], row["split"], row["status"], row["reason"]) == ("b", "train", "ok", None)
    assert row["size"] == (root / "train/b/003.jpg").stat().st_size
    assert len(row["sha256"]) == len(row["phash"]) == 64
    bad = table["train/a/000.jpg"]
    assert (bad["status"], bad["sha256"]) == ("damaged", None)
    assert "not-an-image" in bad["reason"]


def test_nothing_of_the_source_changes(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    truncate(root / "train/b/001.jpg", 0.8)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    checked(root, on_damaged="repair")
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_the_manifest_is_written_only_when_something_changed(folder_of_photos, paint):
    root = folder_of_photos(splits=GIVEN)
    result = checked(root)
    stamp = result.manifest.stat().st_mtime_ns
    assert checked(root).manifest.stat().st_mtime_ns == stamp
    paint(500).save(root / "train/a/new.jpg")
    assert checked(root).manifest.stat().st_mtime_ns != stamp


def test_a_leak_is_dropped_from_the_side_of_training(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    shutil.copy(root / "valid/b/001.jpg", root / "test/b/copy.jpg")
    result = checked(root)
    gone = {path: row["reason"] for path, row in rows_of(result).items() if row["status"] == "left-out"}
    assert gone == {
        "train/a/001.jpg": "gate: leak-exact: test/a/copy.jpg is in another split",
        "valid/b/001.jpg": "gate: leak-exact: test/b/copy.jpg is in another split",
    }
    assert set(result.gated.dataset.paths) == {p for p in rows_of(result) if p not in gone}
    assert any("Left out because a copy lies in another split: 2" in line for line in result.summary())


def test_a_leak_can_be_kept_or_refused(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    assert len(checked(root, on_leak="warn").gated.dataset) == 41
    with pytest.raises(DataError, match="more than one split") as caught:
        checked(root, on_leak="fail")
    assert "copy.jpg" in caught.value.where
    assert "choose on_leak='drop-from-train' or on_leak='warn'" in caught.value.do


def test_damaged_pictures_can_be_refused(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    (root / "train/a/003.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 pictures cannot be read, such as train/a/003.jpg \(The file is empty"):
        checked(root, on_damaged="fail")
    assert checked(root).gated.usable.sum() == 39


def half_gray(file: Path) -> None:
    """Data that decodes to a picture, the lower half of which is gray."""
    data = bytearray(file.read_bytes())
    at = len(data) // 2
    data[at : at + 40] = b"\xff\xd4" + bytes(38)
    file.write_bytes(data)


def test_a_picture_whose_decoder_warns_is_left_out_unless_a_person_keeps_it(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    half_gray(root / "train/a/003.jpg")
    result = checked(root)
    row = rows_of(result)["train/a/003.jpg"]
    assert row["status"] == "damaged"
    assert row["reason"].startswith("gate: corrupt-data: Part of the picture's data is broken (Corrupt JPEG data")
    assert result.gated.usable.sum() == 39
    dataset = result.gated.dataset
    with pytest.raises(ImageError, match="Part of the picture's data is broken"):
        dataset[list(dataset.paths).index("train/a/003.jpg")]
    with pytest.raises(DataError, match=r"1 pictures cannot be read, such as train/a/003\.jpg"):
        checked(root, on_damaged="fail")
    edit(result.manifest, "train/a/003.jpg", status="keep", reason="the flower is above")
    again = checked(root)
    assert rows_of(again)["train/a/003.jpg"]["status"] == "keep"
    assert rows_of(again)["train/a/003.jpg"]["reason"] == "the flower is above"
    assert again.gated.usable.sum() == 40
    assert again.gated.dataset[0].is_file()
    assert "corrupt-data" in {finding.id for finding in again.gated.findings}


def test_a_picture_that_cannot_be_read_cannot_be_kept(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    (root / "train/a/003.jpg").write_bytes(b"")
    edit(checked(root).manifest, "train/a/003.jpg", status="keep")
    assert rows_of(checked(root))["train/a/003.jpg"]["status"] == "damaged"


def test_the_intact_part_of_a_truncated_picture_is_kept_beside_it(folder_of_photos, paint):
    root = folder_of_photos(splits=GIVEN)
    whole = paint(77, size=(300, 240))
    whole.save(root / "train/a/cut.jpg", quality=90)
    truncate(root / "train/a/cut.jpg", 0.8)
    paint(78, size=(300, 240)).save(root / "train/a/little.jpg", quality=90)
    truncate(root / "train/a/little.jpg", 0.2)
    result = checked(root, on_damaged="repair")
    table = rows_of(result)
    assert table["train/a/cut.jpg"]["status"] == "repaired"
    assert table["train/a/little.jpg"]["status"] == "damaged"
    dataset = result.gated.dataset
    copy = dataset.path(dataset.paths.index("train/a/cut.jpg"))
    from PIL import Image

    with Image.open(copy) as image:
        assert image.width == 300
        assert 120 <= image.height < 240
        part = np.asarray(image.convert("RGB"), int)
    difference = abs(part - np.asarray(whole, int)[: part.shape[0]])
    assert difference.mean() < 3
    assert difference[-1].mean() < 6
    assert copy.is_relative_to(result.folder)
    assert "Of truncated pictures the intact part is used: 1 (on_damaged='repair')." in result.summary()


def test_unknown_choices():
    with pytest.raises(UsageError, match="on_leak 'ignore' is not known") as caught:
        GateOptions(on_leak="ignore")  # type: ignore[arg-type]
    assert caught.value.allowed == "drop-from-train, warn, fail"
    with pytest.raises(UsageError, match="on_damaged 'x' is not known"):
        GateOptions(on_damaged="x")  # type: ignore[arg-type]


def splits_of(result) -> dict[str, str]:
    return {path: row["split"] for path, row in rows_of(result).items()}


def test_adding_photos_moves_no_old_one_to_another_split(folder_of_photos, paint):
    root = folder_of_photos({"a": 40, "b": 40})
    before = splits_of(checked(root))
    for i in range(40):
        paint(5000 + i).save(root / "a" / f"A{i:03}.jpg")
    (root / "b/000.jpg").unlink()
    after = splits_of(checked(root, seed=7))
    assert after.pop("b/000.jpg") == before["b/000.jpg"]  # absent, and known if it comes back
    assert all(after[path] == split for path, split in before.items() if path in after)
    assert [list(after.values()).count(split) for split in SPLITS] == [83, 18, 18]
    # and what only reads the data, without looking at them, sees the same
    dataset = read_data(DataRequest(str(root), seed=3))
    assert {p: SPLITS[s] for p, s in zip(dataset.paths, dataset.splits, strict=True)} == after


def test_copies_are_never_drawn_into_different_splits(folder_of_photos):
    root = folder_of_photos({"a": 40, "b": 40})
    for i in range(30):
        shutil.copy(root / f"a/{i:03}.jpg", root / f"a/copy{i:03}.jpg")
    result = checked(root)
    after = splits_of(result)
    assert all(after[f"a/{i:03}.jpg"] == after[f"a/copy{i:03}.jpg"] for i in range(30))
    assert "leak-exact" not in {finding.id for finding in result.gated.findings}


def test_a_group_across_given_splits_is_a_leak(folder_of_photos, paint):
    root = folder_of_photos(splits=GIVEN)
    for split, i in (("train", 1), ("test", 2)):
        paint(800 + i).save(root / split / "a" / f"burst7_{i}.jpg")
    result = checked(root, group_by=r"(burst\d+)")
    (leak,) = [finding for finding in result.gated.findings if finding.id == "leak-group"]
    assert {file.path for file in leak.files} == {"train/a/burst7_1.jpg", "test/a/burst7_2.jpg"}
    assert rows_of(result)["train/a/burst7_1.jpg"]["status"] == "left-out"
    assert rows_of(result)["train/a/burst7_1.jpg"]["group"] == "burst7"


def test_a_persons_decisions_are_obeyed_and_kept(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    result = checked(root)
    edit(result.manifest, "train/a/001.jpg", status="keep", reason="I know")
    edit(result.manifest, "train/b/002.jpg", status="left-out", reason="my thumb")
    for _ in range(2):
        result = checked(root)
        paths = set(result.gated.dataset.paths)
        assert "train/a/001.jpg" in paths
        assert "train/b/002.jpg" not in paths
        assert "train/b/002.jpg" not in read_data(DataRequest(str(root))).paths


def test_names_that_are_no_text_keep_their_splits_and_decisions(folder_of_photos):
    root = folder_of_photos({"a": 20, "b": 20})
    for i in range(10):
        os.rename(root / f"a/{i:03}.jpg", os.fsencode(root) + b"/a/caf\xe9%d.jpg" % i)
    result = checked(root)
    before = splits_of(result)
    edit(result.manifest, "a/caf\\udce93.jpg", status="left-out", reason="mine")
    result = checked(root, seed=5)
    assert splits_of(result) == before
    assert "a/caf\udce93.jpg" not in result.gated.dataset.paths
    assert "a/caf\udce94.jpg" in result.gated.dataset.paths


def test_manifests_that_cannot_be_meant(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    result = checked(root)
    edit(result.manifest, "train/a/001.jpg", status="maybe")
    with pytest.raises(DataError, match="column 'status' holds 'maybe'") as caught:
        checked(root)
    assert "left-out" in caught.value.allowed
    result.manifest.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="manifest cannot be read") as caught:
        checked(root)
    assert "remove it" in caught.value.do


def test_no_readable_picture_at_all(tmp_path):
    for label in "ab":
        (tmp_path / "d" / label).mkdir(parents=True)
        (tmp_path / "d" / label / "x.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"No picture could be read, such as a/x.jpg"):
        checked(tmp_path / "d")


def test_a_warm_gate_imports_nothing_heavy(folder_of_photos):
    import subprocess
    import sys

    root = folder_of_photos(splits=GIVEN)
    for file in root.rglob("*.jpg"):
        os.utime(file, ns=(1, time.time_ns() - 60 * 10**9))
    checked(root)
    script = (
        "import sys; from vizsla.workflow.gate import check_data, DataRequest\n"
        f"print(check_data(DataRequest({str(root)!r})).inspected)\n"
        "print([m for m in ('pyarrow', 'cleanvision', 'cleanlab', 'pandas', 'boto3', 'obstore', 'torch') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["0", "[]"]


def test_an_intact_part_that_lies_in_two_splits_is_a_leak(folder_of_photos, paint):
    root = folder_of_photos(splits=GIVEN)
    paint(77, size=(300, 240)).save(root / "train/a/cut.jpg", quality=90)
    truncate(root / "train/a/cut.jpg", 0.8)
    shutil.copy(root / "train/a/cut.jpg", root / "test/a/cut.jpg")
    table = rows_of(checked(root, on_damaged="repair"))
    assert (table["train/a/cut.jpg"]["status"], table["test/a/cut.jpg"]["status"]) == ("left-out", "repaired")
    assert table["train/a/cut.jpg"]["reason"] == "gate: leak-exact: test/a/cut.jpg is in another split"
    assert len(table["test/a/cut.jpg"]["phash"]) == 64


def test_a_leak_that_a_person_has_resolved_costs_no_second_picture(folder_of_photos):
    root = folder_of_photos(splits=GIVEN)
    shutil.copy(root / "train/a/001.jpg", root / "test/a/copy.jpg")
    edit(checked(root).manifest, "test/a/copy.jpg", status="left-out", reason="a copy of 001")
    for _ in range(3):
        table = rows_of(checked(root, on_leak="drop-from-train"))
        assert table["train/a/001.jpg"]["status"] == "ok"
        assert (table["test/a/copy.jpg"]["status"], table["test/a/copy.jpg"]["reason"]) == ("left-out", "a copy of 001")
        (root / f"train/b/more{len(table)}.jpg").write_bytes(os.urandom(9))  # the manifest is written anew
    assert checked(root, on_leak="fail").gated.usable.sum() == 40


def test_copies_that_empty_a_class_are_named(folder_of_photos):
    root = folder_of_photos(splits=GIVEN | {"train": {"a": 12, "b": 2}})
    for i in range(2):
        shutil.copy(root / f"train/b/00{i}.jpg", root / f"test/b/copy{i}.jpg")
    gated = checked(root).gated
    with pytest.raises(DataError, match="No training picture for 'b'") as caught:
        gated.check()
    assert "2 pictures were left out because a copy lies in another split: train/b/000.jpg, train/b/001.jpg." in (
        caught.value.what
    )
    assert "keep both by on_leak='warn'" in caught.value.do
    assert checked(root, on_leak="warn").gated.check() == ()


def test_the_same_black_picture_under_two_labels_is_told(folder_of_photos):
    from PIL import Image

    root = folder_of_photos(splits=GIVEN)
    for label in "ab":
        Image.new("RGB", (64, 64)).save(root / "train" / label / "black.png")
    (finding,) = [f for f in checked(root).gated.findings if f.id == "two-labels"]
    assert {file.path for file in finding.files} == {"train/a/black.png", "train/b/black.png"}


def test_pictures_that_are_not_there_are_told_apart_from_those_the_disk_withholds(folder_of_photos):
    root = folder_of_photos({"red": 12, "green": 12})
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    (root / "t.csv").write_text("path,label\n" + "".join(f"{path},{path.partition('/')[0]}\n" for path in paths))
    (root / paths[3]).unlink()
    (root / paths[4]).unlink()
    (root / paths[4]).symlink_to("/nowhere/photo.jpg")
    (finding,) = [finding for finding in checked(root / "t.csv").gated.findings if finding.id == "unreadable"]
    assert "There is no such file. (1) This is a link to a file that is not there. (1)" in finding.evidence
    assert "correct its path, or put the file there" in finding.fix
    assert "permissions" not in finding.fix


def test_a_folder_of_a_format_that_cannot_be_read_says_what_to_do(tmp_path):
    for name in ("normal", "pneumonia"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.dcm").write_bytes(bytes(128) + b"DICM" + bytes(500))
    with pytest.raises(DataError, match="The file is a DICOM picture") as error:
        checked(tmp_path)
    assert "convert" in error.value.do


def test_copies_of_the_same_bytes_that_keep_a_class_together_are_named(folder_of_photos):
    root = folder_of_photos({"red": 1, "green": 1})
    for name in ("red", "green"):
        for i in range(1, 12):
            shutil.copy(root / name / "000.jpg", root / name / f"{i:03}.jpg")
    with pytest.raises(DataError, match="kept together as one group, by group_by or as copies of each other") as error:
        checked(root, near_copies="off").gated.check()
    assert error.value.do.startswith("take copies of the same bytes away")
