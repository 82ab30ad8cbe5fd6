"""A table for each split, side by side: ``train.csv`` and ``valid.csv``, perhaps ``test.csv``."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import split_and_rest
from vizsla.data.options import SourceOptions
from vizsla.data.records import read_records
from vizsla.data.table_file import TABLES


def _find(contents: Contents) -> Iterable[Files]:
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for file in contents.near(*TABLES, depth=1):
        split, rest = split_and_rest(file)
        if split is not None:
            groups[rest].setdefault(split, file)
    return [tuple(group.values()) for group in groups.values() if len(group) > 1 and "train" in group]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records, notes, labelled = [], [], []
    for file in files:
        split, _ = split_and_rest(file)
        folder = posixpath.dirname(file)
        table = read_records(contents.root / file, options, folder=folder, split=split, may_lack_labels=True)
        if table.labelled:
            labelled.append(file)
            records += [row for row in table.rows if row.label is not None]
            lacking = sum(row.label is None for row in table.rows)
            notes += table.notes + ([f"{lacking:,} rows of {file} have no label."] if lacking else [])
            columns_read = table.columns_read
        else:
            notes.append(f"{file} holds no labels: its {len(table.rows):,} rows were passed over.")
    if len(labelled) < 2:
        return None
    return Reading(f"Tables by split: {', '.join(labelled)} {columns_read}", files, records, notes)


LAYOUT = Layout("a table for each split, side by side, such as train.csv and valid.csv", _find, _read)
