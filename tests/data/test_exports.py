"""Exports as the tools wrote them (tests/exports), beside pictures of the names that they had."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vizsla.data import Dataset, open_dataset
from vizsla.errors import DataError, SourceError

EXPORTS = Path(__file__).parents[1] / "exports"
NAMES = [f"{('beagle', 'pug')[i % 2]}-{i:03}" for i in range(12)]

Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path, paint) -> Lay:
    """Copies an export, and lays the twelve pictures beside it under the names that ``place`` gives them."""

    def make(export: str, place: Callable[[int, str], str]) -> Path:
        root = tmp_path / "data"
        shutil.rmtree(root, ignore_errors=True)
        if export:
            shutil.copytree(EXPORTS / export, root)
        for i, name in enumerate(NAMES):
            file = root / place(i, f"{name}.jpg")
            file.parent.mkdir(parents=True, exist_ok=True)
            paint(i, colour=((220, 40, 40), (40, 60, 220))[i % 2]).save(file)
        return root

    return make


def uploaded(i: int, name: str) -> str:
    return f"{0xA5C0F000 + i + 1:08x}-{name}"


def assert_right(dataset: Dataset, count: int, layout: str) -> None:
    """Each label is the one that the picture's name tells."""
    assert dataset.layout.startswith(layout)
    assert len(dataset) == count
    assert dataset.classes == ("beagle", "pug")
    for path, label in zip(dataset.paths, dataset.labels, strict=True):
        assert dataset.classes[label] in path
    assert all(dataset.path(row).is_file() for row in range(count))


@pytest.mark.parametrize("form", ["CSV", "TSV", "JSON", "JSON_MIN"])
@pytest.mark.parametrize("place", [uploaded, lambda i, name: f"images/{uploaded(i, name)}", lambda i, name: name])
def test_label_studio(lay, form, place):
    root = lay(f"label-studio/{form}", place)
    dataset = open_dataset(root)
    # JSON-MIN leaves tasks without a label out; the others name them.
    assert_right(dataset, 11, "Label Studio: result.")
    told = " ".join(dataset.notes)
    assert "has no label and is not read" in told
    if form != "JSON_MIN":
        assert "1 row without a label passed over, such as '/data/upload/1/a5c0f00c-pug-011.jpg'" in told
    if form.startswith("JSON"):
        assert_right(open_dataset(root / "result.json"), 11, "Label Studio: result.json")


def test_label_studio_with_several_choices(lay):
    root = lay("label-studio/JSON", uploaded)
    tasks = json.loads((root / "result.json").read_text())
    tasks[3]["annotations"][0]["result"][0]["value"]["choices"] = ["pug", "beagle"]
    (root / "result.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=r"pug-003.jpg' \(pug and beagle\): this is a multi-label data set") as caught:
        open_dataset(root)
    assert "task 4" in caught.value.where


def test_label_studio_whose_people_disagree(lay):
    root = lay("label-studio/JSON", uploaded)
    tasks = json.loads((root / "result.json").read_text())
    other = json.loads(json.dumps(tasks[3]["annotations"][0]).replace('"pug"', '"beagle"'))
    tasks[3]["annotations"].append(other | {"was_cancelled": True})
    (root / "result.json").write_text(json.dumps(tasks))
    assert_right(open_dataset(root), 11, "Label Studio")
    tasks[3]["annotations"][1]["was_cancelled"] = False
    (root / "result.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=r"is labelled 'beagle' here and 'pug' in task 4"):
        open_dataset(root)


def test_label_studio_with_two_sets_of_choices(lay):
    root = lay("label-studio/JSON", uploaded)
    tasks = json.loads((root / "result.json").read_text())
    for task in tasks[:-1]:
        results = task["annotations"][0]["result"]
        results.append(results[0] | {"from_name": "quality", "value": {"choices": ["sharp"]}})
    (root / "result.json").write_text(json.dumps(tasks))
    with pytest.raises(DataError, match="choices of 'choice' and 'quality'") as caught:
        open_dataset(root)
    assert "label_column='choice'" in caught.value.do
    assert_right(open_dataset(root, label_column="choice"), 11, "Label Studio")


@pytest.mark.parametrize("form", ["numbers", "confidence"])
def test_fiftyone(lay, form):
    root = lay(f"fiftyone/{form}", lambda i, name: f"data/{name}")
    dataset = open_dataset(root)
    assert_right(dataset, 11 if form == "numbers" else 12, "FiftyOne: labels.json with pictures in data/; ")
    assert ("1 row without a label passed over, such as 'pug-011'." in dataset.notes) == (form == "numbers")


def test_fiftyone_with_several_labels(lay):
    with pytest.raises(DataError, match=r"beagle and pug: this is a multi-label data set"):
        open_dataset(lay("fiftyone/several", lambda i, name: f"data/{name}"))


def test_cvat_for_images(lay):
    root = lay("datumaro/cvat", lambda i, name: f"images/{name}")
    dataset = open_dataset(root)
    assert_right(dataset, 11, "CVAT for images: train.xml, val.xml with pictures in images/; 11 pictures of 2 classes")
    assert dataset.counts()[:, 1].sum() == 3
    assert "1 row without a label passed over, such as 'pug-011.jpg'." in dataset.notes
    text = (root / "train.xml").read_text()
    (root / "val.xml").unlink()
    (root / "train.xml").rename(root / "annotations.xml")
    assert_right(open_dataset(root / "annotations.xml"), 8, "CVAT for images: annotations.xml")
    for written, words in (
        (text.replace("<tag label=", "<box label="), "no tags; boxes and outlines are no labels"),
        (text.replace('<tag label="pug">', '<tag label="dog"></tag><tag label="pug">'), "'pug-001.jpg' .dog and pug."),
        (text[:-200], "The XML is damaged"),
        (text.replace("<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'), "has a document type"),
    ):
        (root / "annotations.xml").write_text(written.replace("</tag>", "</box>") if "box" in words else written)
        with pytest.raises(DataError, match=words):
            open_dataset(root)


def test_datumaro(lay):
    root = lay("datumaro/datumaro", lambda i, name: f"images/{'train' if i < 8 else 'val'}/{name}")
    dataset = open_dataset(root)
    assert_right(dataset, 11, "Datumaro: annotations/train.json, annotations/val.json with pictures in images/; ")
    assert dataset.counts()[:, 1].sum() == 3


def test_cvats_class_folders(lay):
    root = lay("", lambda i, name: f"{'no_label' if i > 10 else name.partition('-')[0]}/{name}")
    dataset = open_dataset(root)
    assert_right(dataset, 11, "Class folders; 11 pictures of 2 classes")
    assert "1 picture lies in no_label/ without class folders and is not used" in " ".join(dataset.notes)


def test_datumaros_lists(lay):
    dataset = open_dataset(lay("datumaro/imagenet_txt", lambda i, name: f"images/{name}"))
    assert_right(dataset, 11, "List: train.txt, val.txt with pictures in images/; 11 pictures of 2 classes")
    assert "1 row without a label passed over, such as 'pug-011.jpg'." in dataset.notes
    assert "The numbers of the classes have their names from synsets.txt (0 is 'beagle')." in dataset.notes


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_imagefolder_of_numbers(lay, form):
    root = lay("", lambda i, name: f"train/{name}")
    if form == "parquet":  # as datasets writes a ClassLabel
        label = {"file_name": {"dtype": "string", "_type": "Value"}}
        label["label"] = {"names": ["beagle", "pug"], "_type": "ClassLabel"}
        table = pa.table({"file_name": [f"{name}.jpg" for name in NAMES], "label": [i % 2 for i in range(12)]})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": label}})})
        pq.write_table(table, root / "train" / "metadata.parquet")
    else:
        shutil.copy(EXPORTS / "datasets" / f"metadata.{form}", root / "train")
        (root / "classes.txt").write_text("beagle\npug\n")
    dataset = open_dataset(root)
    assert_right(dataset, 12, f"Hugging Face imagefolder: train/metadata.{form} (file_name, label)")


def test_roboflow(lay):
    root = lay("", lambda i, name: f"{('train', 'train', 'train', 'valid')[i // 3]}/{name}")
    for split, rows in (("train", range(9)), ("valid", range(9, 12))):
        lines = [f"{NAMES[i]}.jpg, {1 - i % 2}, {i % 2}" for i in rows]
        (root / split / "_classes.csv").write_text("filename, beagle, pug\n" + "\n".join(lines) + "\n")
    dataset = open_dataset(root)
    assert_right(dataset, 12, "Roboflow: train/_classes.csv, valid/_classes.csv (filename, a column for each class)")
    assert dataset.counts()[:, 1].sum() == 3
    lines[0] = f"{NAMES[9]}.jpg, 1, 1"
    (root / "valid" / "_classes.csv").write_text("filename, beagle, pug\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"such as line 2 \(beagle and pug\): this is a multi-label data set") as caught:
        open_dataset(root)
    assert "valid/_classes.csv" in caught.value.where
    assert caught.value.do.startswith("export it with single labels")


@pytest.mark.parametrize(
    "names", [("train.csv", "valid.csv"), ("train_labels.csv", "val_labels.csv", "test_labels.csv")]
)
def test_a_table_for_each_split(lay, names):
    root = lay("", lambda i, name: f"images/{name}")
    share = 12 // len(names)
    for n, name in enumerate(names):
        rows = [f"images/{NAMES[i]}.jpg,{NAMES[i].partition('-')[0]}" for i in range(n * share, (n + 1) * share)]
        (root / name).write_text("filename,class\n" + "\n".join(rows))
    dataset = open_dataset(root)
    assert_right(dataset, 12, f"Tables by split: {', '.join(sorted(names))}")
    assert dataset.counts()[:, 1].sum() == share


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def shard(file: Path, pictures: Iterable[Path], kinds: str = "cls json txt") -> Path:
    """A shard in the form and order that webdataset's ShardWriter gives it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for path in pictures:
            kind = path.name.partition("-")[0]
            number = ("beagle", "pug").index(kind)
            members = {"cls": f"{number}", "jpg": path.read_bytes(), "json": json.dumps({"label": number}), "txt": kind}
            for ending, data in members.items():
                if ending in kinds or ending == "jpg":
                    add(tar, f"{path.stem}.{ending}", data if isinstance(data, bytes) else data.encode())
    return file


@pytest.mark.parametrize("kinds", ["txt", "cls json txt", "json"])
@pytest.mark.parametrize("names", ["dogs-{}-{:06d}.tar", "{}/{:06d}.tar"])
def test_webdataset_shards(lay, tmp_path, kinds, names):
    files = sorted(lay("", lambda i, name: name).iterdir())
    for n in range(3):
        shard(tmp_path / "shards" / names.format("val" if n == 2 else "train", n), files[n::3], kinds)
    dataset = open_dataset(tmp_path / "shards")
    assert dataset.name == "shards"
    assert len(dataset) == 12
    assert dataset.classes == (("beagle", "pug") if kinds == "txt" else ("0", "1"))
    assert dataset.labels.tolist() == ["pug" in path for path in dataset.paths]
    assert dataset.counts()[:, 1].sum() == 4
    assert dataset.layout.startswith(f"WebDataset: a .{kinds.split()[0]} for each picture")
    assert "in train, valid" in dataset.layout
    (tmp_path / "shards" / names.format("train", 0)).write_bytes(b"x" * 700)
    with pytest.raises(SourceError, match="This is no archive of a kind that is read here: the file is text"):
        open_dataset(tmp_path / "shards")


def test_one_webdataset_shard(lay, tmp_path):
    files = sorted(lay("", lambda i, name: name).iterdir())
    assert_right(open_dataset(shard(tmp_path / "dogs.tar", files, "txt")), 12, "WebDataset: a .txt for each picture")


def test_captions_are_no_labels(lay, folder_of_photos):
    root = lay("", lambda i, name: name)
    for i, name in enumerate(NAMES):
        (root / f"{name}.txt").write_text(f"a photo of dog number {i}")
    with pytest.raises(DataError, match="Each of 12 pictures would have a class of its own"):
        open_dataset(root)
    photos = folder_of_photos({"red": 10, "green": 10})
    for path in list(photos.rglob("*.jpg")):
        path.with_suffix(".txt").write_text("a photo" if path.name < "005" else "another photo")
    assert open_dataset(photos).classes == ("green", "red")


@pytest.mark.parametrize("form", ["zip", "tar", "gztar"])
@pytest.mark.parametrize("above", ["", "dogs/"])
def test_archives_bring_their_tables(lay, tmp_path, form, above):
    root = lay("", lambda i, name: f"{above}train/{name}")
    rows = [f"{name},{name.partition('-')[0]}" for name in NAMES]
    (root / above / "labels.csv").write_text("id,breed\n" + "\n".join(rows))
    archive = shutil.make_archive(str(tmp_path / "dogs"), form, root)
    dataset = open_dataset(archive)
    assert_right(dataset, 12, "Kaggle: labels.csv (id, breed) with pictures in train/; 12 pictures of 2 classes")
    assert dataset.name == "dogs"


def test_class_folders_in_an_archive_may_have_a_text_beside_the_folder_above(folder_of_photos, tmp_path):
    photos = folder_of_photos({"red": 10, "green": 10}, name="data/photos")
    (photos.parent / "README.txt").write_text("Photos of two colours")
    dataset = open_dataset(shutil.make_archive(str(tmp_path / "a"), "zip", photos.parent))
    assert dataset.classes == ("green", "red")
    (photos.parent / "labels.csv").write_text("path,label\nphotos/red/000.jpg,red\n")
    dataset = open_dataset(shutil.make_archive(str(tmp_path / "b"), "zip", photos.parent))
    assert dataset.classes == ("green", "red")
    assert "labels.csv" in " ".join(dataset.notes)
