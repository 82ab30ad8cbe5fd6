"""Roboflow's folders for classification: ``_classes.csv`` in each split, with a column of 0 and 1 for each class.

Roboflow's "Multi-Label Classification CSV"; here each picture must have one class.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record, read_records
from vizsla.data.split_names import split_of


def _find(contents: Contents) -> Iterable[Files]:
    return [tuple(file for file in contents.near(".csv") if posixpath.basename(file) == "_classes.csv")]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading:
    records: list[Record] = []
    notes: list[str] = []
    for file in files:
        folder = posixpath.dirname(file)
        split = split_of(posixpath.basename(folder), plainly=True)
        table = read_records(contents.root / file, options, folder=folder, split=split, one_hot=True)
        records += table.rows
        notes += table.notes
    return Reading(f"Roboflow: {', '.join(files)} {table.columns_read}", files, records, notes)


LAYOUT = Layout("_classes.csv with a column of 0 and 1 for each class, in each split", _find, _read)
