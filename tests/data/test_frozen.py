"""Splits that the manifest has frozen stay, whatever comes, goes, moves or is renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vizsla.data import SourceOptions
from vizsla.errors import UsageError
from vizsla.workflow.gate import DataCheck, DataRequest, check_data


def checked(root: Path, seed: int = 0, drop: tuple[str, ...] = ()) -> DataCheck:
    return check_data(DataRequest(str(root), SourceOptions(drop_classes=drop), seed=seed))


def rows_of(result: DataCheck) -> dict[str, dict]:
    return {row["path"]: row for row in pq.read_table(result.manifest).to_pylist()}


def splits_of(result: DataCheck) -> dict[str, str]:
    return {path: row["split"] for path, row in rows_of(result).items() if row["status"] != "absent"}


def notes_of(result: DataCheck) -> str:
    return " ".join(result.gated.facts.dataset.notes)


def test_a_class_that_is_left_out_for_one_run_comes_back_as_it_was(folder_of_photos):
    root = folder_of_photos({"a": 30, "b": 30, "c": 30})
    before = splits_of(checked(root))
    table = rows_of(checked(root, drop=("c",)))
    assert {row["status"] for path, row in table.items() if path.startswith("c/")} == {"absent"}
    assert table["c/000.jpg"]["label"] == "c"
    assert len(table["c/000.jpg"]["sha256"]) == 64
    result = checked(root, seed=1)
    assert splits_of(result) == before
    assert "90 pictures keep what an earlier run drew." in notes_of(result)
    assert "seed" not in notes_of(result)


def test_a_class_folder_that_is_away_for_one_run(folder_of_photos, tmp_path):
    root = folder_of_photos({"a": 30, "b": 30, "c": 30})
    before = splits_of(checked(root))
    shutil.move(root / "c", tmp_path / "away")
    checked(root)
    checked(root, seed=3)
    shutil.move(tmp_path / "away", root / "c")
    assert splits_of(checked(root, seed=1)) == before


def test_a_valid_folder_that_is_given_later_sends_no_picture_to_train(folder_of_photos, paint):
    root = folder_of_photos(splits={"train": {"a": 40, "b": 40}})
    before = splits_of(checked(root))
    for late in ("valid", "test"):
        for label in "ab":
            (root / late / label).mkdir(parents=True)
            for i in range(3):
                paint(7000 + 10 * len(late) + i + ord(label)).save(root / late / label / f"new{i}.jpg")
        result = checked(root)
        after = splits_of(result)
        assert {path: after[path] for path in before} == before
        assert after[f"{late}/a/new0.jpg"] == late
    assert "that the source has in train stay in valid or test" in notes_of(result)


def test_the_note_counts_what_was_drawn_now(folder_of_photos, paint):
    root = folder_of_photos({"a": 20, "b": 20})
    assert "was drawn for it (seed 2)" in notes_of(checked(root, seed=2))
    for i in range(5):
        paint(6000 + i).save(root / "a" / f"new{i}.jpg")
    assert "40 pictures keep what an earlier run drew; 5 new ones were drawn (seed 9)." in notes_of(
        checked(root, seed=9)
    )


def test_a_corrected_label_leaves_the_picture_in_its_split(folder_of_photos):
    root = folder_of_photos({"a": 40, "b": 40})
    before = splits_of(checked(root))
    moved = [path for path in before if path.startswith("a/")][::2]
    for path in moved:
        os.rename(root / path, root / path.replace("a/", "b/x"))
    after = splits_of(checked(root, seed=1))
    assert {path: after[path.replace("a/", "b/x")] for path in moved} == {path: before[path] for path in moved}
    assert {before[path] for path in moved} == {"train", "valid", "test"}


def test_renumbered_files_keep_their_splits(folder_of_photos):
    root = folder_of_photos({"a": 30, "b": 30})
    before = splits_of(checked(root))
    for i in range(29, -1, -1):
        os.rename(root / f"a/{i:03}.jpg", root / f"a/{i + 1:03}.jpg")
    after = splits_of(checked(root))
    assert all(after[f"a/{i + 1:03}.jpg"] == before[f"a/{i:03}.jpg"] for i in range(30))


def test_a_persons_decision_follows_a_renamed_file(folder_of_photos):
    root = folder_of_photos({"a": 20, "b": 20})
    result = checked(root)
    rows = pq.read_table(result.manifest).to_pylist()
    for row in rows:
        if row["path"] == "a/004.jpg":
            row |= {"status": "left-out", "reason": "my thumb"}
    pq.write_table(pa.Table.from_pylist(rows), result.manifest)
    os.rename(root / "a/004.jpg", root / "a/renamed.jpg")
    row = rows_of(checked(root))["a/renamed.jpg"]
    assert (row["status"], row["reason"]) == ("left-out", "my thumb")


def test_a_copy_does_not_take_the_split_of_the_picture_that_is_still_there(folder_of_photos):
    given = {"train": {"a": 12, "b": 12}, "valid": {"a": 4, "b": 4}, "test": {"a": 4, "b": 4}}
    root = folder_of_photos(splits=given)
    checked(root)
    shutil.copy(root / "test/a/001.jpg", root / "train/a/copy.jpg")
    row = rows_of(checked(root))["train/a/copy.jpg"]
    assert (row["split"], row["status"]) == ("train", "left-out")


def test_dropping_every_class_is_refused(folder_of_photos):
    with pytest.raises(UsageError, match="No picture is left: 'green', 'red'") as caught:
        checked(folder_of_photos(), drop=("red", "green"))
    assert (caught.value.parameter, caught.value.where) == ("drop_classes", "parameter drop_classes")
