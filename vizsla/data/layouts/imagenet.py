"""ImageNet's way: ``train/<class>/`` and a flat ``val/`` whose classes are in a list of names and numbers, or labels.

Known lists: Caffe's ``val.txt`` (``ILSVRC2012_val_00000001.JPEG 65``), Kaggle's ``LOC_val_solution.csv``, Tiny
ImageNet's ``val_annotations.txt``, and datumaro's, which have one for train, too. Lists that give a split
and no labels, as Food-101 has them, are of pictures in class folders. Numbers count the sorted folders of
train, from 0, or from 1 where they run to the number of folders; or the lines of ``synsets.txt`` beside.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vizsla.data.class_names import has_names
from vizsla.data.contents import Contents
from vizsla.data.dataset import Split
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import GATHERING
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
from vizsla.data.split_names import split_of
from vizsla.errors import DataError
from vizsla.images.formats import ENDINGS

_PICTURE = "|".join(sorted(suffix[1:] for suffix in ENDINGS))
_LINE = re.compile(rf"(?P<picture>.*\.(?:{_PICTURE})|\S+?)(?:[ \t,;]+(?P<label>[^\t,;]*)(?:[\t,;].*)?)?", re.IGNORECASE)
"""``picture label``, and what may follow a tab or comma; a picture without ending has no spaces in it."""
_SOLUTION = re.compile(r".*_solution\.csv")

_MOST = 16
"""More text files than this are one for each picture, and no lists of pictures."""


def _find(contents: Contents) -> Iterable[Files]:
    lists = contents.near(".txt", depth=1)
    yield tuple(
        file
        for file in contents.near(".txt", ".csv")
        if (_split(file) is not None and (file.endswith(".txt") or _SOLUTION.fullmatch(file)))
        or (file in lists and len(lists) <= _MOST)
    )


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records: list[Record] = []
    read: list[str] = []
    for file in files:
        split = _split(file)
        rows = list(_rows(contents.root / file, posixpath.dirname(file), split))
        if split is not None and all(row.label is None for row in rows):
            rows = _labelled_by_folder(rows, contents)
        labels = {row.label for row in rows}
        if split is None and not all(_is_picture(row.picture) and row.label for row in rows):
            continue
        if None in labels and len(labels) == 1:
            _check_no_ground_truth(rows, contents.root / file)
        elif 1 < len(labels) < max(3, len(rows)):  # a line for each class is a list of classes
            records += rows
            read.append(file)
    if not read:
        return None
    listed = {record.split for record in records}
    of_folders = [] if None in listed else [r for r in _class_folders(contents) if r.split not in listed]
    classes = sorted({str(record.label) for record in of_folders})
    if classes and not has_names(contents):
        records = _with_names(records, classes)
    title = f"ImageNet: {', '.join(read)} beside class folders" if of_folders else f"List: {', '.join(read)}"
    return Reading(title, tuple(read), of_folders + records)


def _split(file: str) -> Split | None:
    return split_of(posixpath.splitext(posixpath.basename(file))[0])


def _labelled_by_folder(rows: list[Record], contents: Contents) -> list[Record]:
    """Rows without labels, with the folders that they name as their classes where these are there."""
    folders = {posixpath.basename(posixpath.dirname(path)) for path in contents.pictures}
    named = [row._replace(label=posixpath.basename(posixpath.dirname(row.picture)) or None) for row in rows]
    return named if all(row.label in folders for row in named) else rows


def _is_picture(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in ENDINGS


def _rows(file: Path, folder: str, split: Split | None) -> Iterator[Record]:
    if file.suffix.lower() == ".csv":
        with open(file, encoding="utf-8-sig", newline="") as text:
            for number, row in enumerate(csv.reader(text), start=1):
                if number > 1 and len(row) > 1:  # the first class of several boxes: they are all of one
                    yield Record(row[0], row[1].split(" ")[0], split, f"{file}, line {number}", None, folder)
        return
    with open(file, encoding="utf-8-sig", errors="replace") as text:
        for number, line in enumerate(text, start=1):
            match = _LINE.fullmatch(line.strip())
            if match and line.strip():
                label = (match["label"] or "").strip() or None
                if label and all(map(str.isdigit, label.split())):
                    label = label.split()[0]  # the number of the class, before others
                yield Record(match["picture"], label, split, f"{file}, line {number}", None, folder)


def _check_no_ground_truth(rows: list[Record], file: Path) -> None:
    if len(rows) > 1 and all(row.picture.isdigit() for row in rows):
        raise DataError(
            f"This list gives {len(rows):,} numbers, and not the pictures that they are for.",
            where=file,
            allowed="lines such as: ILSVRC2012_val_00000001.JPEG 65",
            do="write each picture's name before its number, or its class in place of it (the numbers of ImageNet's "
            "ground truth are those of its meta.mat, not of the sorted folders)",
        )


def _class_folders(contents: Contents) -> Iterator[Record]:
    """Pictures in ``<split>/<class>/``, at any depth of either."""
    for path in contents.pictures:
        parts = path.split("/")
        splits = [split_of(part, plainly=True) for part in parts[:-2]]
        at = next((i for i, split in enumerate(splits) if split), None)
        if at is not None and parts[at + 1].lower() not in GATHERING:
            yield Record(path, parts[at + 1], splits[at], f"{contents.root}, {posixpath.dirname(path)}")


def _with_names(records: list[Record], classes: list[str]) -> list[Record]:
    numbers = [record.label for record in records if record.label is not None]
    if not all(label.isascii() and label.isdigit() for label in numbers):
        return records
    values = {int(label) for label in numbers}
    first = 1 if min(values) > 0 and max(values) == len(classes) else 0
    if max(values) - first >= len(classes):
        raise DataError(
            f"The list has class {max(values)}, and train has {len(classes)} folders.",
            where=records[0].where.rpartition(", ")[0],
            allowed="numbers of the sorted folders of train, from 0 or from 1",
            do="put the list of classes beside it as synsets.txt, one a line",
        )
    return [
        record if record.label is None else record._replace(label=classes[int(record.label) - first])
        for record in records
    ]


LAYOUT = Layout("a list of pictures and classes for a flat val/, beside the class folders of train/", _find, _read)
