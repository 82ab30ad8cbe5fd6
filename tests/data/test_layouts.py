"""Labels as people and tools leave them: what a folder holds decides how it is read."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from vizsla.data import Dataset, open_dataset
from vizsla.errors import DataError, UsageError

Flat = Callable[..., list[str]]


@pytest.fixture
def flat(tmp_path: Path, paint) -> Flat:
    """Writes ``NAME-NN.jpg`` of two kinds into one folder, and gives their names without ending, kind by turns."""

    def make(folder: str, count: int = 12, kinds: tuple[str, ...] = ("beagle", "pug"), start: int = 0) -> list[str]:
        place = tmp_path / "data" / folder
        place.mkdir(parents=True, exist_ok=True)
        names = []
        for i in range(start, start + count):
            kind = kinds[i % len(kinds)]
            colour = [(220, 40, 40), (40, 200, 60), (50, 60, 220)][i % len(kinds)]
            paint(i, colour=colour).save(place / f"{kind}-{i:03}.jpg")
            names.append(f"{kind}-{i:03}")
        return names

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def kind(name: str) -> str:
    return name.rpartition("/")[2].partition("-")[0]


def assert_right(dataset: Dataset, count: int) -> None:
    """Each label is the one that the picture's name begins with."""
    assert len(dataset) == count
    assert [dataset.classes[label] for label in dataset.labels] == [kind(path) for path in dataset.paths]
    assert all(dataset.path(row).is_file() for row in range(count))


def write(file: Path, header: str, rows: list[str]) -> Path:
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def refused(root: Path, **options) -> DataError | UsageError:
    with pytest.raises((DataError, UsageError)) as caught:
        open_dataset(root, **options)
    return caught.value


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
