"""Any table with a column for the picture and one for the label: in a folder of pictures, or named itself."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from vizsla.data.class_names import name_classes
from vizsla.data.columns import COLUMNS
from vizsla.data.contents import Contents, read_contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import is_without_labels
from vizsla.data.listing import Listing
from vizsla.data.locate import Locator
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record, read_records
from vizsla.data.resolve import resolve
from vizsla.data.table_file import TABLES, head
from vizsla.errors import DataError
from vizsla.images.formats import ENDINGS as PICTURES

_PICTURE = "|".join(sorted(suffix[1:] for suffix in PICTURES)).encode()
_JSON = re.compile(rb'\[\s*\{|\{\s*"[^"]+\.(?:%b)"\s*:\s*["\d]' % _PICTURE, re.IGNORECASE)
"""How JSON begins that is an array of objects, or an object of labels by the paths of pictures."""

_LOOK = 1000
"""Rows whose pictures are looked for before the folder is searched."""


def _find(contents: Contents) -> Iterable[Files]:
    tables = contents.near(*TABLES, depth=1)
    tables += [file for file in contents.near(".json", depth=1) if _JSON.match(head(contents.root / file))]
    return [(file,) for file in tables if not is_without_labels(file)]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading:
    table = read_records(contents.root / files[0], options, folder=posixpath.dirname(files[0]))
    return Reading(f"Table: {files[0]} {table.columns_read}", files, table.rows, table.notes)


def list_table(file: Path, options: SourceOptions) -> Listing:
    """List the pictures that a table names.

    Paths are relative to the table's folder, or absolute; where some are not there, the pictures are found by their
    names, with or without ending, in the table's folder and below.

    Raises
    ------
    DataError
        For a missing column, an empty cell, an unknown split, a class that has no training picture, one picture
        under two labels, a name that several pictures have.
    SourceError
        When the file cannot be read as a table.
    UsageError
        When an option names a column that is not there.
    """
    root = file.parent
    reading = _read(Contents(root, (), ()), (file.name,), options)
    rows = reading.records
    if not rows:
        raise DataError("The table holds no rows.", where=file, allowed=f"a table with the columns {COLUMNS}")
    all_there = all(_is_there(root, record) for record in rows[:_LOOK])
    locator = Locator(Contents(root, (), ()) if all_there else read_contents(root))

    def locate(record: Record) -> list[str]:
        if all_there or _is_there(root, record):
            return [record.picture]
        return locator.find(record.picture, split=record.split)

    if not any(map(locate, rows[:_LOOK])):
        raise DataError(
            f"None of the pictures is there, such as {rows[0].picture!r}.",
            where=file,
            allowed=f"absolute paths, or paths relative to {root.resolve()}",
            do="correct the paths, or put the table beside the pictures",
        )
    listing = resolve(rows, locate, root, file.stem, lambda name: name)
    listing.notes = reading.notes + listing.notes
    if all(label.isdigit() for label in set(listing.labels)):
        name_classes(listing, read_contents(root))
    listing.layout = f"{reading.title}; {listing.numbers()}"
    return listing


def _is_there(root: Path, record: Record) -> bool:
    return (root / record.picture).exists()


LAYOUT = Layout(
    "a .csv, .tsv, .json, .jsonl or .parquet with a column for the picture and one for the label", _find, _read
)
