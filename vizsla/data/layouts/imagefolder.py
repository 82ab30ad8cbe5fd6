"""Hugging Face's imagefolder: ``metadata.csv``, ``.jsonl`` or ``.parquet`` with a column ``file_name``.

The file lies at the top, or one in each split's folder (datasets, "Create an image dataset", ImageFolder).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record, read_records
from vizsla.data.split_names import split_of
from vizsla.data.table_file import open_table

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def _find(contents: Contents) -> Iterable[Files]:
    return [tuple(file for file in contents.near(*_NAMES) if posixpath.basename(file).lower() in _NAMES)]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records: list[Record] = []
    notes: list[str] = []
    for file in files:
        if "file_name" not in open_table(contents.root / file).names:
            return None
        folder = posixpath.dirname(file)
        split = split_of(posixpath.basename(folder), plainly=True)
        table = read_records(contents.root / file, options, folder=folder, split=split)
        records += table.rows
        notes += table.notes
    return Reading(f"Hugging Face imagefolder: {', '.join(files)} {table.columns_read}", files, records, notes)


LAYOUT = Layout("metadata.csv, .jsonl or .parquet with file_name and a label", _find, _read)
