"""Labels as people and tools leave them: what a folder holds decides how it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.data.conftest import assert_right, kind, refused, write
from vizsla.data import open_dataset


def test_kaggle_ids_without_ending_find_their_photos(root, flat):
    names = flat("train")
    flat("test", 5, start=100)
    write(root / "labels.csv", "id,breed", [f"{name},{kind(name)}" for name in names])
    write(root / "sample_submission.csv", "id,beagle,pug", [f"pug-{i},0.5,0.5" for i in range(100, 105)])
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert dataset.layout == "Kaggle: labels.csv (id, breed) with pictures in train/; 12 pictures of 2 classes"
    (note,) = [note for note in dataset.notes if "have no label" in note]
    assert note.startswith("5 pictures in test/ have no label")
    assert f"(`vizsla predict MODEL {root / 'test'}` classifies them)" in note


@pytest.mark.parametrize("depth", ["", "photos/"])
def test_kaggle_ids_with_ending_in_any_folder(root, flat, depth):
    names = flat(depth or ".")
    write(root / "train.csv", "Image,Species", [f"{name}.jpg,{kind(name)}" for name in names])
    assert_right(open_dataset(root), 12)


def test_imagefolder_with_one_file_for_each_split(root, flat):
    for split, start in (("train", 0), ("validation", 100), ("test", 200)):
        names = flat(split, 6, start=start)
        lines = [json.dumps({"file_name": f"{name}.jpg", "label": kind(name)}) for name in names]
        (root / split / "metadata.jsonl").write_text("\n".join(lines))
    dataset = open_dataset(root)
    assert_right(dataset, 18)
    assert dataset.counts().tolist() == [[3, 3, 3], [3, 3, 3]]
    assert dataset.layout.startswith("Hugging Face imagefolder: test/metadata.jsonl, train/metadata.jsonl")


def test_a_stray_table_does_not_take_class_folders_over(folder_of_photos):
    photos = folder_of_photos({"red": 10, "green": 10})
    write(photos / "notes.csv", "what,who", ["dark,me"])
    write(photos / "favourites.csv", "path,label", ["red/000.jpg,best", "red/001.jpg,good"])
    dataset = open_dataset(photos)
    assert dataset.classes == ("green", "red")
    assert dataset.layout == "Class folders; 20 pictures of 2 classes"
    told = " ".join(dataset.notes)
    assert "favourites.csv (path, label)" in told
    assert "it labels 2 of them" in told


def test_class_folders_do_not_hide_a_table_that_covers_the_pictures(root, flat):
    names = [f"part1/{n}" for n in flat("part1", 10)] + [f"part2/{n}" for n in flat("part2", 10, start=50)]
    write(root / "index.csv", "image_id,dx", [f"{name.rpartition('/')[2]},{kind(name)}" for name in names])
    dataset = open_dataset(root)
    assert_right(dataset, 20)
    assert "names of the 2 folders were not taken for classes" in " ".join(dataset.notes)
    assert open_dataset(root, layout="folders").classes == ("part1", "part2")


def test_a_table_that_contradicts_class_folders_is_asked_about(folder_of_photos):
    photos = folder_of_photos({"red": 10, "green": 10})
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    rows = [f"{path},{path.partition('/')[0]}" for path in paths]
    write(photos / "labels.csv", "path,label", rows)
    assert open_dataset(photos).layout.startswith("Class folders")  # both say the same
    rows[3] = f"{paths[3]},red"
    write(photos / "labels.csv", "path,label", rows)
    error = refused(photos)
    assert "can be read in two ways, which differ for 1 of 20 pictures, such as green/003.jpg" in error.what
    assert "labels.csv (path, label)" in error.what
    assert error.do == "say which is meant: layout='kaggle' or layout='folders'"
    assert open_dataset(photos, layout="kaggle").counts().sum(axis=1).tolist() == [9, 11]
    assert open_dataset(photos, layout="folders").counts().sum(axis=1).tolist() == [10, 10]


def test_two_tables_that_differ_are_asked_about(root, flat):
    names = flat("photos")
    write(root / "a.csv", "id,label", [f"{name},{kind(name)}" for name in names])
    write(root / "b.csv", "id,label", [f"{name},{len(name) + i % 3}" for i, name in enumerate(names)])
    error = refused(root)
    assert "Table: a.csv (id, label), 12 pictures of 2 classes, or Table: b.csv (id, label), 12" in error.what
    assert f"{root / 'a.csv'} or {root / 'b.csv'} in place of the folder" in error.do
    assert_right(open_dataset(root / "a.csv"), 12)
    shutil.copy(root / "a.csv", root / "b.csv")
    assert_right(open_dataset(root), 12)


def test_pictures_without_a_label_are_counted_by_folder(root, flat):
    names = flat("all/known")
    for i in range(10):
        flat(f"all/rest-{i}", 1 + (i == 9), start=100 + i * 10)
    flat("all/known", 1, start=50)
    write(root / "labels.csv", "id,breed", [f"{name},{kind(name)}" for name in names])
    told = [note for note in open_dataset(root, layout="kaggle").notes if "no label" in note]
    assert told[0].startswith("2 pictures in all/rest-9/ have no label and are not read, such as all/rest-9/beagle-190")
    assert told[1] == "1 picture in all/known/ has no label and is not read, such as all/known/beagle-050.jpg."
    assert told[-1] == "3 pictures in 3 more folders have no label and are not read."
    assert len(told) == 9


def test_a_table_for_one_of_several_folders_is_asked_about(root, flat):
    names = flat("known")
    flat("rest", 8, start=100)
    write(root / "labels.csv", "id,breed", [f"{name},{kind(name)}" for name in names])
    error = refused(root)
    assert "can be read in two ways" in error.what
    assert "where it is 'beagle'; or Class folders; 20 pictures of 2 classes, where it is 'known'" in error.what
    assert_right(open_dataset(root, layout="kaggle"), 12)


def test_photos_that_are_still_packed(root, flat):
    names = flat("train")
    write(root / "train.csv", "id,label", [f"{name},{kind(name)}" for name in names])
    shutil.make_archive(str(root / "train"), "zip", root / "train")
    shutil.rmtree(root / "train")
    error = refused(root)
    assert "None of the pictures is there, such as 'beagle-000'" in error.what
    assert error.do == "unpack train.zip"
    outer = shutil.make_archive(str(root.parent / "outer"), "zip", root)
    error = refused(Path(outer))
    assert "holds no pictures" in error.what
    assert error.do == "unpack it yourself, and what is in it: train.zip"


def test_an_unknown_layout_and_one_that_is_not_there(folder_of_photos):
    photos = folder_of_photos({"red": 10, "green": 10})
    error = refused(photos, layout="kagle")
    assert "There is no layout 'kagle'" in error.what
    assert error.allowed.startswith("folders, imagefolder, ")
    assert "kaggle, table" in error.allowed
    write(photos / "notes.csv", "what,who", ["dark,me"])
    assert "No labels of the layout 'kaggle' lie here" in refused(photos, layout="kaggle").what
    assert "no table here" in refused(photos, label_column="breed").what


def test_columns_of_other_names_are_given(root, flat):
    names = flat("photos")
    rows = [f"{name},{kind(name)},{('train', 'train', 'test')[i % 3]}" for i, name in enumerate(names)]
    write(root / "t.csv", "uuid,hund,wozu", rows)
    error = refused(root)
    assert "no column 'path'; its columns are uuid, hund, wozu" in error.what
    assert "with path_column," in error.do
    dataset = open_dataset(root, path_column="uuid", label_column="hund", split_column="wozu")
    assert_right(dataset, 12)
    assert dataset.counts()[:, 2].sum() == 4
    error = refused(root, path_column="uid", label_column="hund")
    assert "no column 'uid'" in error.what
    assert "'uuid', 'hund', 'wozu'" in error.allowed
    assert error.do == "did you mean 'uuid'?"


def test_of_several_columns_for_the_label_one_is_asked_for(root, flat):
    names = flat("photos")
    write(root / "t.csv", "id,species,breed", [f"{name},dog,{kind(name)}" for name in names])
    error = refused(root)
    assert "More than one column could be the label: 'breed', 'species'" in error.what
    assert "label_column='breed'" in error.do
    assert_right(open_dataset(root, label_column="breed"), 12)


def test_a_name_beside_a_number_is_the_label(root, flat):
    names = flat("photos")
    rows = [f"{name}.jpg,{kind(name) == 'pug':d},{kind(name)},data" for name in names]
    write(root / "t.csv", "filepaths,class id,labels,source", rows)
    assert_right(open_dataset(root), 12)


def test_names_of_numbered_classes_lie_beside(root, flat):
    names = flat("photos")
    write(root / "train.csv", "id,label", [f"{name},{kind(name) == 'pug':d}" for name in names])
    assert open_dataset(root).classes == ("0", "1")
    (root / "classes.txt").write_text("beagle\npug\n")
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert "The numbers of the classes have their names from classes.txt (0 is 'beagle')." in dataset.notes
    write(root / "train.csv", "id,label", [f"{name},{1 + (kind(name) == 'pug'):d}" for name in names])
    assert_right(open_dataset(root / "train.csv"), 12)


def test_photos_that_are_missing_and_rows_that_are_missing_are_counted(root, flat):
    names = flat("photos")
    rows = [f"{name},{kind(name)}" for name in [*names[2:], "pug-900", "../../pug-901"]]
    write(root / "train.csv", "id,label", rows)
    dataset = open_dataset(root)
    told = " ".join(dataset.notes)
    assert "2 rows of 12 name pictures that are not there, such as 'pug-900' (train.csv, line 12)." in told
    assert "2 pictures in photos/ have no label and are not read, such as photos/beagle-000.jpg." in told
    assert "pug-901" in dataset.paths  # never outside of the folder


def test_a_name_that_several_pictures_have(root, flat):
    names = flat("photos")
    flat("thumbnails")
    write(root / "train.csv", "id,label", [f"{name},{kind(name)}" for name in names])
    error = refused(root)
    assert "12 names could be any of several pictures, such as 'beagle-000'" in error.what
    assert "photos/beagle-000.jpg, thumbnails/beagle-000.jpg" in error.what
    write(root / "train.csv", "id,label", [f"photos/{name},{kind(name)}" for name in names])
    assert_right(open_dataset(root), 12)


def test_the_same_ids_in_train_and_test(root, flat):
    names = flat("train")
    flat("test")
    write(root / "train.csv", "id,label", [f"{name},{kind(name)}" for name in names])
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert all(path.startswith("train/") for path in dataset.paths)
