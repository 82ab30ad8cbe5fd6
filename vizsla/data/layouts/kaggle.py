"""Kaggle's archives: ``train.csv`` or ``labels.csv`` of id and label, and the photos in folders beside it.

Ids have an ending or none; a test split without labels is for ``vizsla predict``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.options import SourceOptions
from vizsla.data.records import read_records
from vizsla.errors import DataError

_TABLE = re.compile(
    r"(train(ing)?([_ -]?(labels?|set|data|info|ground_?truth|solution))?|(train(ing)?[_ -]?)?labels?)\.csv"
)
_TEST = re.compile(r"test(ing)?([_ -]?(set|data|info))?\.csv")


def _find(contents: Contents) -> Iterable[Files]:
    tables = [(file, posixpath.basename(file).lower()) for file in contents.near(".csv", depth=1)]
    others = tuple(file for file, name in tables if _TEST.fullmatch(name))
    return [(file, *others) for file, name in tables if _TABLE.fullmatch(name)]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading:
    first, *others = files
    table = read_records(contents.root / first, options, folder=posixpath.dirname(first))
    without = [file for file in others if not _has_labels(contents, file, options)]
    notes = table.notes + ([f"Not read, as no labels are in it: {', '.join(without)}."] if without else [])
    return Reading(f"Kaggle: {first} {table.columns_read}", (first, *without), table.rows, notes)


def _has_labels(contents: Contents, file: str, options: SourceOptions) -> bool:
    try:
        return read_records(contents.root / file, options, may_lack_labels=True).labelled
    except DataError:
        return False


LAYOUT = Layout("train.csv or labels.csv of id and label, the photos beside it", _find, _read)
