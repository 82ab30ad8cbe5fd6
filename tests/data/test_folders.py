"""Reading class folders into a table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vizsla.data import open_dataset
from vizsla.errors import DataError


def test_given_splits_are_kept(folder_of_photos):
    root = folder_of_photos(splits={"train": {"a": 5, "b": 4}, "val": {"a": 2, "b": 1}, "test": {"a": 1, "b": 1}})
    dataset = open_dataset(root)
    assert dataset.classes == ("a", "b")
    assert dataset.counts().tolist() == [[5, 2, 1], [4, 1, 1]]
    assert dataset.notes == ()
    assert dataset.path(0).is_file()


def test_a_flat_folder_is_split_by_class_and_says_so(folder_of_photos):
    dataset = open_dataset(folder_of_photos({"red": 40, "green": 20}), seed=3)
    assert dataset.counts().tolist() == [[14, 3, 3], [28, 6, 6]]
    assert "No valid and no test split is given" in dataset.notes[0]
    assert "seed 3" in dataset.notes[0]


def test_a_missing_test_split_is_drawn_from_train(folder_of_photos):
    dataset = open_dataset(folder_of_photos(splits={"train": {"a": 20, "b": 20}, "valid": {"a": 2, "b": 2}}))
    assert dataset.counts().tolist() == [[17, 2, 3], [17, 2, 3]]


def test_the_draw_depends_on_the_seed_and_on_nothing_else(folder_of_photos):
    root = folder_of_photos({"red": 30, "green": 30})
    first, again, other = open_dataset(root), open_dataset(root), open_dataset(root, seed=1)
    assert np.array_equal(first.splits, again.splits)
    assert not np.array_equal(first.splits, other.splits)


def test_names_with_spaces_and_foreign_letters(folder_of_photos):
    root = folder_of_photos({"Löwenzahn gelb": 5, "蒲公英": 5}, name="mes photos été")
    dataset = open_dataset(root)
    assert dataset.classes == ("Löwenzahn gelb", "蒲公英")
    assert all(dataset.path(row).is_file() for row in range(len(dataset)))


def test_other_files_are_passed_over_and_counted(folder_of_photos):
    root = folder_of_photos()
    (root / "red" / "notes.txt").write_text("x")
    (root / "red" / ".DS_Store").write_text("x")
    dataset = open_dataset(root)
    assert len(dataset) == 40
    assert "Passed over, as they are no pictures: 1 file (1 .txt)." in dataset.notes


def test_no_such_folder(tmp_path: Path):
    with pytest.raises(DataError, match="There is no such folder") as caught:
        open_dataset(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value)
    assert "DATA/<class>/<picture>" in str(caught.value)


def test_a_folder_without_pictures(tmp_path: Path):
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="There is no picture in this folder") as caught:
        open_dataset(tmp_path)
    assert ".jpg" in caught.value.allowed


def test_pictures_outside_class_folders(folder_of_photos):
    root = folder_of_photos()
    with pytest.raises(DataError, match="20 pictures lie directly in the folder, and nothing says what") as caught:
        open_dataset(root / "red")
    assert "a folder for each class" in caught.value.do
    assert caught.value.do.endswith("the files' names tell them, by a regular expression: label_from")


@pytest.mark.parametrize("places", [("",), ("train",), ("images",), ("train", "test1")])
def test_names_that_look_like_labels_are_pointed_out(folder_of_photos, places):
    root = folder_of_photos(splits={place: {"": 12} for place in places})
    for i, path in enumerate(sorted(root.rglob("*.jpg"))):
        path.rename(path.with_name(f"{('cat', 'guinea_pig')[i % 2]}.{i}.jpg"))
    with pytest.raises(DataError, match="nothing says what they show") as caught:
        open_dataset(root)
    assert r"as it seems (cat, guinea_pig): label_from='^(.+?)[\\W_]*\\d+'" in caught.value.do
    dataset = open_dataset(root, label_from=r"^(.+?)[\W_]*\d+")
    (root / places[0] / "7.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="nothing says what they show") as caught:
        open_dataset(root)
    assert "guinea_pig" in caught.value.do
    assert dataset.classes == ("cat", "guinea_pig")
    for i, path in enumerate(sorted(root.rglob("*.jpg"))):
        path.rename(path.with_name(f"IMG_{i:04}.jpg"))
    with pytest.raises(DataError) as caught:
        open_dataset(root)
    assert "by a regular expression: label_from" in caught.value.do


def test_what_lies_in_a_folder_without_pictures_is_told(folder_of_photos, tmp_path):
    root = tmp_path / "packed"
    root.mkdir()
    for name in ("train.zip", "test.tar.xz"):
        (root / name).write_bytes(b"PK")
    with pytest.raises(
        DataError, match=r"no picture in this folder. Passed over.*2 files \(1 \.\w+, 1 \.\w+\)"
    ) as caught:
        open_dataset(root)
    assert caught.value.do == "unpack test.tar.xz, train.zip, or name it in place of the folder"
    hidden = folder_of_photos(splits={".hidden": {"red": 4, "green": 4}}, name="hidden")
    with pytest.raises(DataError, match=r"There is no picture in this folder.*1 folder \(1 \.hidden\)"):
        open_dataset(hidden)
    photos = folder_of_photos({"images": 8}, name="coco")
    (photos / "annotations.json").write_text('{"images": []}')
    (photos / "labels.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"images/ holds pictures and no class folders: .* \(1 \.json, 1 \.xlsx\)"):
        open_dataset(photos)


def test_one_class_only(folder_of_photos):
    with pytest.raises(DataError, match="There is one class only: 'cat'"):
        open_dataset(folder_of_photos({"cat": 9})).check()


def test_a_class_without_a_training_picture(folder_of_photos):
    root = folder_of_photos(splits={"train": {"a": 3, "b": 3}, "valid": {"a": 1}, "test": {"a": 1, "c": 1}})
    with pytest.raises(DataError, match="No training picture for 'c'") as caught:
        open_dataset(root).check()
    assert "train/" in caught.value.do


def test_a_class_without_a_test_picture_is_a_warning(folder_of_photos):
    root = folder_of_photos(splits={"train": {"a": 3, "b": 3}, "valid": {"a": 1, "b": 1}, "test": {"a": 1}})
    assert open_dataset(root).check() == ("No test picture for 'b': nothing can be said about it.",)


def test_an_empty_split(folder_of_photos):
    with pytest.raises(DataError, match="The valid split is empty"):
        open_dataset(folder_of_photos({"a": 1, "b": 1})).check()


def test_the_folder_above_a_data_set_is_not_taken_for_one(folder_of_photos):
    splits = {"train": {"red": 4, "green": 4}, "valid": {"red": 2, "green": 2}, "test": {"red": 2, "green": 2}}
    folder_of_photos(splits=splits, name="above/first")
    root = folder_of_photos(splits=splits, name="above/second").parent
    with pytest.raises(DataError, match="the folder above a data set: first/ holds splits") as error:
        open_dataset(root)
    assert str(root / "first") in str(error.value.do)


def test_a_class_folder_whose_name_is_no_text(folder_of_photos):
    root = folder_of_photos()
    os.rename(os.fsencode(root / "red"), os.fsencode(root) + b"/tul\xe9p")
    with pytest.raises(DataError, match="its bytes are not UTF-8") as error:
        open_dataset(root)
    assert "udce9p" in str(error.value)
    assert "convmv" in str(error.value)


def test_a_file_name_that_is_no_text_is_read(folder_of_photos):
    root = folder_of_photos()
    photo = next((root / "red").iterdir())
    os.rename(photo, os.fsencode(photo.parent) + b"/caf\xe9.jpg")
    dataset = open_dataset(root)
    assert len(dataset) == 40
    assert all(dataset.path(row).is_file() for row in range(40))


def test_a_class_folder_without_pictures_is_told(folder_of_photos):
    root = folder_of_photos()
    (root / "lily").mkdir()
    dataset = open_dataset(root)
    assert dataset.classes == ("green", "red")
    assert "No picture is inside, so that this is no class: lily. Do: add pictures" in " ".join(dataset.notes)


def test_classes_too_small_to_split_say_how_many_they_need(folder_of_photos):
    with pytest.raises(DataError, match="no class has enough pictures") as error:
        open_dataset(folder_of_photos({"red": 2, "green": 1})).check()
    assert "'red', has 2" in error.value.what
    assert "at least 3 pictures" in str(error.value.allowed)


@pytest.mark.parametrize("splits", [("val", "test"), ("test",), ("validation", "testing", "cats")])
def test_splits_without_train_are_not_taken_for_classes(folder_of_photos, splits):
    root = folder_of_photos(splits={split: {"a": 3, "b": 3} for split in splits})
    with pytest.raises(DataError, match="There is no train folder beside test") as caught:
        open_dataset(root)
    assert "train/" in caught.value.do
