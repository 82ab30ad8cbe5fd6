"""Labels in other forms than a table of names: columns of classes, ImageNet's folders, names of files, lists, JSON."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.data.conftest import Flat, assert_right, kind, refused, write
from vizsla.data import open_dataset


def test_one_column_for_each_class(root, flat):
    names = flat("images")
    rows = [f"{name},{kind(name) == 'beagle':d},{kind(name) == 'pug':d}" for name in names]
    write(root / "train.csv", "image_id,beagle,pug", rows)
    assert_right(open_dataset(root), 12)
    rows[3] = f"{names[3]},1,1"
    write(root / "train.csv", "image_id,beagle,pug", rows)
    error = refused(root)
    assert "1 picture has more than one class, such as line 5 (beagle and pug)" in error.what
    assert "multi-label" in error.what


def imagenet(root: Path, flat: Flat, prefix: str = "", flat_val: str = "val") -> list[str]:
    """``train/<class>/`` and a flat ``val/``; the names in it, with the kind before the dash."""
    for label in ("beagle", "pug"):
        flat(f"{prefix}train/{label}", 6, kinds=(label,), start=len(label) * 100)
    return flat(f"{prefix}{flat_val}", 6, start=2)


@pytest.mark.parametrize("first", [0, 1])
def test_imagenet_with_a_list_of_names_and_numbers(root, flat, first):
    names = imagenet(root, flat)
    lines = [f"{name}.jpg {first + (kind(name) == 'pug')}" for name in names]
    (root / "val.txt").write_text("\n".join(lines))
    dataset = open_dataset(root)
    assert_right(dataset, 18)
    assert dataset.layout == (
        "ImageNet: val.txt beside class folders with pictures in train/, val/; 18 pictures of 2 classes in train, valid"
    )
    assert dataset.counts()[:, 1].tolist() == [3, 3]
    (root / "val.txt").write_text("\n".join([*lines[1:], f"{names[0]}.jpg 7"]))
    assert "The list has class 7, and train has 2 folders" in refused(root, layout="imagenet").what


def test_tiny_imagenet(root, flat):
    names = imagenet(root, flat, flat_val="val/images")
    flat("test/images", 4, start=50)
    write(root / "val" / "val_annotations.txt", "", [f"{name}.jpg\t{kind(name)}\t0\t32\t44\t62" for name in names])
    (root / "wnids.txt").write_text("beagle\npug\n")
    dataset = open_dataset(root)
    assert_right(dataset, 18)
    assert dataset.counts()[:, 1].tolist() == [3, 3]
    assert "4 pictures in test/ have no label" in " ".join(dataset.notes)


def test_imagenet_of_kaggle(root, flat):
    names = imagenet(root, flat, "ILSVRC/Data/CLS-LOC/")
    write(root / "LOC_val_solution.csv", "ImageId,PredictionString", [f"{n},{kind(n)} 1 2 3 4 " for n in names])
    dataset = open_dataset(root)
    assert_right(dataset, 18)
    assert dataset.counts()[:, 1].tolist() == [3, 3]


def test_a_ground_truth_of_numbers_alone(root, flat):
    imagenet(root, flat)
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n171\n822\n297\n482\n")
    error = refused(root, layout="imagenet")
    assert "gives 6 numbers, and not the pictures" in error.what
    assert "meta.mat" in error.do


@pytest.mark.parametrize(
    "expression", [r"^(.+)-\d+\.jpg$", r"^(?:old-)?(?P<label>[a-z]+)-(\d+)", r"/(beagle|pug)-", r"([a-z]+)-0"]
)
def test_the_label_in_the_name_of_the_file(root, flat, paint, expression):
    flat("train", 6)
    flat("test", 6, start=20)
    paint(99).save(root / "train" / "1.jpg")
    dataset = open_dataset(root, label_from=expression)
    assert_right(dataset, 12)
    assert dataset.counts()[:, 2].sum() == 6
    assert dataset.layout.startswith(f"Names of files by {expression}; 12 pictures of 2 classes in train, test")
    assert "1 picture whose name does not fit label_from are not read, such as train/1.jpg." in dataset.notes


def test_expressions_that_cannot_tell_a_label(root, flat):
    flat("photos")
    assert "is broken" in refused(root, label_from="(").what
    assert "put parentheses around" in refused(root, label_from=r"\w+").do
    error = refused(root, label_from=r"(\d+)_x")
    assert "No file's name fits" in error.what
    assert "'beagle-000.jpg'" in error.do


def test_a_list_of_pictures_and_classes(root, flat):
    names = flat("photos")
    flat("photos", 2, kinds=("poodle",), start=90)
    (root / "README.txt").write_text("Twelve dogs.\nSee beagle-000.jpg for one.\n")
    (root / "list.txt").write_text("\n".join(f"photos/{name}.jpg {kind(name)}" for name in names))
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert dataset.layout == "List: list.txt with pictures in photos/; 12 pictures of 2 classes"
    assert "2 pictures in photos/ have no label" in " ".join(dataset.notes)
    assert_right(open_dataset(root / "list.txt"), 12)


@pytest.mark.parametrize("form", ["array", "object"])
def test_labels_in_json(root, flat, form):
    names = flat("photos")
    of_path = {f"photos/{name}.jpg": kind(name) for name in names}
    rows = [{"image": path, "class": label} for path, label in of_path.items()]
    (root / "labels.json").write_text(json.dumps(rows if form == "array" else of_path, indent=2))
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert dataset.layout.startswith("Table: labels.json (")
    assert_right(open_dataset(root / "labels.json"), 12)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label_num_to_disease_map.json", {"0": "beagle", "1": "pug", "2": "poodle"}),
        ("class_indices.json", {"beagle": 0, "pug": 1}),
        ("classes.json", ["beagle", "pug"]),
    ],
)
def test_names_of_numbered_classes_in_json(root, flat, name, value):
    names = flat("train_images")
    write(root / "train.csv", "image_id,label", [f"{n}.jpg,{kind(n) == 'pug':d}" for n in names])
    (root / name).write_text(json.dumps(value))
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert f"The numbers of the classes have their names from {name} (0 is 'beagle')." in dataset.notes


def test_a_column_called_dataset_need_not_be_about_splits(root, flat):
    names = flat("photos")
    write(root / "t.csv", "image_id,dx,dataset", [f"{name},{kind(name)},vidir" for name in names])
    dataset = open_dataset(root)
    assert_right(dataset, 12)
    assert "The column 'dataset' was not taken for splits, as it holds 'vidir'." in dataset.notes
    assert "no split 'vidir'" in refused(root, split_column="dataset").what
    write(
        root / "t.csv",
        "image_id,dx,data set",
        [f"{n},{kind(n)},{('train', 'test')[i // 6]}" for i, n in enumerate(names)],
    )
    assert open_dataset(root).counts()[:, 2].sum() == 6


def test_rows_of_pictures_that_are_gone_do_not_take_class_folders_over(folder_of_photos):
    photos = folder_of_photos({"red": 10, "green": 10})
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    rows = [f"{path},{path.partition('/')[0]}" for path in [*paths, "red/900.jpg"]]
    write(photos / "labels.csv", "path,label", rows)
    assert open_dataset(photos).layout == "Class folders; 20 pictures of 2 classes"
    write(photos / "labels.csv", "path,label,sharp", [f"{row},{i % 2}" for i, row in enumerate(rows)])
    assert open_dataset(photos, label_column="sharp").classes == ("0", "1")


def test_numbers_that_class_folders_name(folder_of_photos):
    photos = folder_of_photos({"red": 10, "green": 10})
    paths = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    rows = [f"{path},{path.startswith('red'):d},{('train', 'test')[i % 2]}" for i, path in enumerate(paths)]
    write(photos / "labels.csv", "path,label,split", rows)
    dataset = open_dataset(photos)
    assert dataset.classes == ("green", "red")
    assert dataset.counts()[:, 2].tolist() == [5, 5]


def test_unicode_forms_of_one_name(root, flat, paint):
    flat("photos")
    for i in range(6):
        paint(i).save(root / "photos" / unicodedata.normalize("NFD", f"épagneul-{i}.jpg"))
    rows = [f"épagneul-{i},épagneul" for i in range(6)] + [f"pug-{i:03},pug" for i in range(1, 12, 2)]
    write(root / "labels.csv", "id,breed", rows)
    assert len(open_dataset(root)) == 12
    assert not any("not there" in note for note in open_dataset(root).notes)


@pytest.mark.parametrize("ending", ["", ".jpg"])
@pytest.mark.parametrize("names", ["meta/train.txt meta/test.txt", "TrainImages.txt TestImages.txt"])
def test_lists_of_the_pictures_of_each_split(folder_of_photos, names, ending):
    root = folder_of_photos(splits={"images": {"red": 12, "green": 12}})
    (root / "meta").mkdir()
    for name, numbers in zip(names.split(), (range(8), range(8, 12)), strict=True):
        lines = [f"{label}/{i:03}{ending}" for label in ("red", "green") for i in numbers]
        (root / name).write_text("\n".join(lines))
    (root / "meta/classes.txt").write_text("green\nred\n")
    dataset = open_dataset(root)
    assert dataset.counts()[:, 2].tolist() == [4, 4]
    assert dataset.layout.startswith("List: ")
    if names.startswith("meta"):  # lists of another fold, which contradict these
        (root / "meta/test2.txt").write_text("red/000.jpg\ngreen/000.jpg\n")
        dataset = open_dataset(root)
        assert dataset.layout.startswith("Class folders")
        assert any("is in train here and in test in" in note for note in dataset.notes)


def test_lists_with_more_numbers_than_that_of_the_class(root, flat):
    names = flat("images")
    (root / "annotations").mkdir()
    for file, some in (("trainval", names[:8]), ("test", names[8:])):
        lines = [f"{name} {1 + (kind(name) == 'pug')} 1 {i}" for i, name in enumerate(some)]
        (root / f"annotations/{file}.txt").write_text("\n".join(lines))
    dataset = open_dataset(root)
    assert dataset.classes == ("1", "2")
    assert dataset.counts()[:, 2].tolist() == [2, 2]
