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

_NAMES = re.compile(
    r"(train(ing)?([_ -]?(labels?|set|data|info|ground_?truth|solution))?|(train(ing)?[_ -]?)?labels?)\.csv"
)


def _find(contents: Contents) -> Iterable[Files]:
    return [(file,) for file in contents.near(".csv", depth=1) if _NAMES.fullmatch(posixpath.basename(file).lower())]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    table = read_records(contents.root / files[0], options, folder=posixpath.dirname(files[0]))
    columns = f"{table.columns.path}, {table.columns.label or 'a column for each class'}"
    return Reading(f"Kaggle: {files[0]} ({columns})", files, table.rows, table.notes)


LAYOUT = Layout("train.csv or labels.csv of id and label, the photos beside it", _find, _read)
