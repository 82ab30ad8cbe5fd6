"""ImageNet's way: ``train/<class>/`` and a flat ``val/`` whose classes are in a list of names and numbers, or labels.

Known lists: Caffe's ``val.txt`` (``ILSVRC2012_val_00000001.JPEG 65``), Kaggle's ``LOC_val_solution.csv``, Tiny
ImageNet's ``val_annotations.txt``, and datumaro's, which have one for train, too. Numbers count the sorted folders of
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
from vizsla.data.folders import SPLIT_FOLDERS
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import GATHERING, split_and_rest
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
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
    files = tuple(
        file
        for file in contents.near(".txt", ".csv")
        if (split_and_rest(file)[0] is not None and (file.endswith(".txt") or _SOLUTION.fullmatch(file)))
        or (file in lists and len(lists) <= _MOST)
    )
    return [files] if files else []


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records: list[Record] = []
    read: list[str] = []
    for file in files:
        split, _ = split_and_rest(file)
        rows = list(_rows(contents.root / file, posixpath.dirname(file), split))
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
        records = _named(records, classes)
    title = f"ImageNet: {', '.join(read)} beside class folders" if of_folders else f"List: {', '.join(read)}"
    return Reading(title, tuple(read), of_folders + records)


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
        at = next((i for i, part in enumerate(parts) if part.lower() in SPLIT_FOLDERS), None)
        if at is not None and at + 2 < len(parts) and parts[at + 1].lower() not in GATHERING:
            where = f"{contents.root}, {posixpath.dirname(path)}"
            yield Record(path, parts[at + 1], SPLIT_FOLDERS[parts[at].lower()], where)


def _named(records: list[Record], classes: list[str]) -> list[Record]:
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
