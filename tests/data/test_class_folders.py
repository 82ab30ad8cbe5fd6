"""What is a split and what is a class, read from what lies where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vizsla.data import SPLITS, list_source, open_dataset
from vizsla.errors import DataError

A_B = {"a": 4, "b": 4}


def finding_of(root: Path, name: str):
    (finding,) = [finding for finding in list_source(root).findings if finding.id == name]
    return finding


def by_split(root: Path) -> dict[str, dict[str, int]]:
    listing = list_source(root)
    counts: dict[str, dict[str, int]] = {}
    for split, label in zip(listing.splits, listing.labels, strict=True):
        of_split = counts.setdefault(split or "-", {})
        of_split[label] = of_split.get(label, 0) + 1
    return counts


@pytest.mark.parametrize(
    "names",
    [
        ("Training Set", "Validation Set", "Test Set"),
        ("train_images", "val_images", "test_images"),
        ("flowers_train", "flowers_valid", "flowers_test"),
        ("TRAIN", "dev", "holdout"),
        ("train2017", "eval", "test2017"),
    ],
)
def test_split_folders_by_any_name(folder_of_photos, names):
    root = folder_of_photos(splits=dict.fromkeys(names, A_B))
    assert by_split(root) == dict.fromkeys(SPLITS, A_B)
    (note,) = list_source(root).notes
    assert note.startswith("Read as splits: ")
    assert all(f"{name}/ is {split}" in note for name, split in zip(names, SPLITS, strict=True))


def test_usual_names_need_no_note(folder_of_photos):
    root = folder_of_photos(splits={"train": A_B, "Val": A_B, "TEST": {"a": 2}})
    assert by_split(root) == {"train": A_B, "valid": A_B, "test": {"a": 2}}
    assert list_source(root).notes == []


@pytest.mark.parametrize("names", [("fold1", "fold2", "fold3"), ("site A", "site B"), ("2024-05-01", "2024-05-02")])
def test_folders_that_hold_the_same_folders_are_no_classes(folder_of_photos, names):
    root = folder_of_photos(splits=dict.fromkeys(names, A_B))
    with pytest.raises(DataError, match=r"hold the same folders \(a, b\), and nothing says whether they") as error:
        open_dataset(root)
    assert f"{names[0]}/" in error.value.what
    assert "name them train, valid and test" in error.value.do
    assert f"name it: {root / names[0]}" in error.value.do
    assert "where they are the classes" in error.value.do


def test_the_split_that_lacks_a_few_classes_is_one_of_them(folder_of_photos):
    many = dict.fromkeys("abcdef", 3)
    root = folder_of_photos(splits={"Set train": many, "Set test": {"a": 2, "b": 2, "z": 2}})
    assert by_split(root) == {"train": many, "test": {"a": 2, "b": 2, "z": 2}}


@pytest.mark.parametrize("layout", ["train/train test/test", "train/images test/images", "x/train x/test"])
def test_doubled_and_wrapping_folders_are_looked_through(folder_of_photos, layout):
    train, test = layout.split()
    root = folder_of_photos(splits={train: A_B, test: A_B})
    assert by_split(root) == {"train": A_B, "test": A_B}
    notes = " ".join(list_source(root).notes)
    if train.startswith("x/"):
        assert "Read from x/, as no other folder holds pictures." in notes
    else:
        assert f"Read test/ from {test}/, as nothing else is in it." in notes


@pytest.mark.parametrize("wrapper", ["images", "data/data", "my photos/sorted", "flowers_train"])
def test_classes_one_level_too_deep(folder_of_photos, wrapper):
    root = folder_of_photos(splits={wrapper: A_B})
    (root / "annotations").mkdir()
    assert by_split(root) == {"-": A_B}
    assert f"Read from {wrapper}/, as no other folder holds pictures." in list_source(root).notes
    assert "annotations" in finding_of(root, "empty-folders").evidence


def test_a_hierarchy_says_what_is_taken_as_class(folder_of_photos):
    root = folder_of_photos(splits={"animal": {"cat": 3, "dog": 3}, "vehicle": {"car": 3, "bus": 3}, "other": {"": 3}})
    assert by_split(root) == {"-": {"animal": 6, "other": 3, "vehicle": 6}}
    finding = finding_of(root, "nested-classes")
    assert "The outer folders are taken as the classes: animal/ (with cat/, dog/ inside), vehicle/" in finding.evidence
    assert "move them up" in finding.fix


@pytest.mark.parametrize(
    "sessions",
    [("session1", "session2"), ("2024-05-01", "2024-06-02"), ("100CANON", "101CANON"), ("2023/12", "2024/01")],
)
def test_folders_within_a_class_that_part_its_pictures(folder_of_photos, sessions):
    root = folder_of_photos(splits={"daisy": dict.fromkeys(sessions, 4), "rose": dict.fromkeys(sessions, 3)})
    assert by_split(root) == {"-": {"daisy": 8, "rose": 6}}
    assert list_source(root).findings == []


def test_a_class_folder_with_a_folder_of_the_same_name(folder_of_photos):
    root = folder_of_photos(splits={"a": {"a": 3}, "b": {"b": 3}})
    assert by_split(root) == {"-": {"a": 3, "b": 3}}


def test_splits_inside_the_classes(folder_of_photos):
    root = folder_of_photos(
        splits={"daisy": {"train": 4, "test": 2}, "rose": {"train": 3, "val": 1, "test": 1}, "tulip": {"train": 2}}
    )
    shutil.copy(root / "rose/train/000.jpg", root / "rose/loose.jpg")
    assert by_split(root) == {
        "train": {"daisy": 4, "rose": 3, "tulip": 2},
        "valid": {"rose": 1},
        "test": {"daisy": 2, "rose": 1},
    }
    assert "The splits are read inside the class folders, as in daisy/test/." in list_source(root).notes
    assert "1 picture lies directly in rose/" in finding_of(root, "stray-pictures").evidence


@pytest.mark.parametrize("names", [("asl_train/asl_train", "asl_test/asl_test"), ("asl_train", "asl_test")])
def test_names_that_differ_by_their_split_alone_are_splits(folder_of_photos, names):
    root = folder_of_photos(splits={names[0]: A_B, names[1]: {"": 5}})  # the pictures of test are not labelled
    assert by_split(root) == {"train": A_B}
    assert "5 pictures lie in asl_test/ without class folders" in finding_of(root, "unlabelled-pictures").evidence
    assert any("asl_train/ is train" in note for note in list_source(root).notes)


@pytest.mark.parametrize("name", ["2750", "2024-05-01", "set1"])
def test_a_folder_with_classes_inside_is_no_session(folder_of_photos, name):
    root = folder_of_photos(splits={f"EuroSAT/{name}": A_B})
    assert by_split(root) == {"-": A_B}


def test_the_classes_once_more_in_another_folder(folder_of_photos):
    root = folder_of_photos(splits={"images": A_B, "data/images": A_B})  # as an archive that many use holds it
    with pytest.raises(DataError, match=r"data/ and images/ hold the same folders \(a, b\)") as error:
        open_dataset(root)
    assert f"where one of them is the data set, name it: {root / 'data'}" in error.value.do


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled images", "no_label", "unsorted"])
def test_a_folder_that_says_that_it_has_no_labels(folder_of_photos, name):
    root = folder_of_photos({"a": 4, "b": 4, name: 3})
    assert by_split(root) == {"-": A_B}
    assert f"3 pictures lie in {name}/" in finding_of(root, "unlabelled-pictures").evidence
    root = folder_of_photos(splits={"train": A_B | {name: 1}, "test": A_B}, name="splits")
    assert by_split(root) == {"train": A_B, "test": A_B}
    assert f"1 picture lies in train/{name}/ without class folders and is not used: nothing says what they show." == (
        finding_of(root, "unlabelled-pictures").evidence
    )
    root = folder_of_photos({"labelled": 4, name: 4}, name="goods")
    assert by_split(root) == {"-": {"labelled": 4, name: 4}}


def test_vehicles_are_no_splits(folder_of_photos):
    assert by_split(folder_of_photos({"car": 3, "train": 4})) == {"-": {"car": 3, "train": 4}}
    sessions = {"session1": 3, "session2": 2}
    root = folder_of_photos(splits=dict.fromkeys(("bus", "freight train", "train"), sessions), name="sessions")
    assert by_split(root) == {"-": {"bus": 5, "freight train": 5, "train": 5}}
    inside = {"train": 3, "test": 2}
    root = folder_of_photos(splits={"plane": inside, "train": inside}, name="inside")
    assert by_split(root) == {"train": {"plane": 3, "train": 3}, "test": {"plane": 2, "train": 2}}


@pytest.mark.parametrize(
    "names", [("train", "test"), ("train",), ("train_images", "test_images"), ("a_train", "a_test"), ("train/train",)]
)
def test_split_folders_of_pictures_without_labels_are_no_classes(folder_of_photos, names):
    root = folder_of_photos(splits={name: {"": 4} for name in names})
    with pytest.raises(DataError, match="pictures and no class folders: nothing says what they show") as error:
        open_dataset(root)
    assert "train" in error.value.what
    assert "a table with a column path and a column label" in error.value.do


def test_an_unlabelled_train_folder_beside_class_folders(folder_of_photos):
    root = folder_of_photos(splits={"train": {"": 4}, "val": A_B})
    with pytest.raises(DataError, match=r"^train/ holds pictures and no class folders: nothing says what they show\."):
        open_dataset(root)


def test_pictures_beside_the_class_folders(folder_of_photos):
    root = folder_of_photos(splits={"train": A_B, "test": A_B})
    for i in range(3):
        shutil.copy(root / "train/a/000.jpg", root / f"{i}.jpg")
    shutil.copy(root / "train/a/000.jpg", root / "train/x.jpg")
    finding = finding_of(root, "stray-pictures")
    assert finding.severity == "warning"
    assert finding.evidence == (
        "4 pictures lie directly in photos/ (3), train/ (1), beside the folders that are read, and are not used."
    )
    assert {file.path for file in finding.files} == {"0.jpg", "1.jpg", "2.jpg", "train/x.jpg"}
    assert f"{finding.evidence} Do: move them into the folder of their class." in open_dataset(root).notes


def test_an_unlabelled_test_folder(folder_of_photos):
    root = folder_of_photos(splits={"train": A_B, "test": {"": 10}, "unsorted": {"": 2}})
    finding = finding_of(root, "unlabelled-pictures")
    assert finding.evidence.startswith("12 pictures lie in test/ (10), unsorted/ (2) without class folders")
    assert "nothing says what they show" in finding.evidence
    assert f"`vizsla predict MODEL {root}/test`" in finding.fix
    assert by_split(root) == {"train": A_B}


@pytest.mark.parametrize("inside", ["images", "test", "Test Images"])
def test_an_unlabelled_folder_with_a_folder_that_is_no_class(folder_of_photos, inside):
    root = folder_of_photos(splits={"train": A_B, "test": {inside: 5}})
    assert "5 pictures lie in test/ without class folders" in finding_of(root, "unlabelled-pictures").evidence
    assert by_split(root) == {"train": A_B}


def test_the_data_set_once_more_beside_its_splits(folder_of_photos):
    splits = {"train": A_B, "test": A_B}
    root = folder_of_photos(splits={f"x/{name}": counts for name, counts in splits.items()})
    folder_of_photos(splits=splits, name="photos/x/x")  # as an archive of X-rays that many use holds it
    assert by_split(root) == splits
    assert "16 pictures lie in x/x/ and are not used" in finding_of(root, "unused-folders").evidence


def test_the_classes_once_more_beside_the_classes(folder_of_photos):
    root = folder_of_photos({"no": 4, "yes": 4})
    folder_of_photos({"no": 4, "yes": 4}, name="photos/tumor_dataset")
    assert by_split(root) == {"-": {"no": 4, "yes": 4}}
    assert finding_of(root, "repeated-classes").evidence == (
        "8 pictures lie in tumor_dataset/ and are not used: the folders in it have the names of the classes beside it."
    )


def test_one_class_of_several_days_is_one_class(folder_of_photos):
    root = folder_of_photos(splits={"daisy": {"2024-05-01": 3, "2024-05-02": 3}})
    with pytest.raises(DataError, match="There is one class only: 'daisy'"):
        open_dataset(root).check()


def test_class_folders_beside_the_splits(folder_of_photos):
    root = folder_of_photos(splits={"train": A_B, "test": A_B, "extra": {"a": 5, "c": 1}})
    finding = finding_of(root, "unused-folders")
    assert finding.evidence == ("6 pictures lie in extra/ and are not used: the name does not say which split this is.")
    assert "train, valid or test" in finding.fix


def test_empty_folders(folder_of_photos):
    root = folder_of_photos(splits={"train": A_B | {"c": 0}, "test": A_B | {"d": 0}, "valid": {"a": 0, "b": 1}})
    (root / "docs").mkdir()
    (root / "docs/notes.txt").touch()
    finding = finding_of(root, "empty-folders")
    assert finding.evidence == "No picture is inside, so that these are no classes: docs, test/d, train/c."
    assert finding.severity == "warning"


def test_the_train_split_may_be_the_one_without_a_name(folder_of_photos):
    root = folder_of_photos(splits={"main": A_B, "Test Set": A_B})
    with pytest.raises(DataError, match="There is no train folder beside Test Set/") as error:
        open_dataset(root)
    assert "is main/, which holds the same folders, the train split?" in error.value.do
