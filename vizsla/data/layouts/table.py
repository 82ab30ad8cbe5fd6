"""Any table with a column for the picture and one for the label, beside or above its pictures."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.layouts.words import is_without_labels
from vizsla.data.options import SourceOptions
from vizsla.data.records import read_records
from vizsla.data.table_file import head
from vizsla.data.tables import SUFFIXES
from vizsla.images.formats import ENDINGS as PICTURES

_PICTURE = "|".join(sorted(suffix[1:] for suffix in PICTURES)).encode()
_JSON = re.compile(rb'\[\s*\{|\{\s*"[^"]+\.(?:%b)"\s*:\s*["\d]' % _PICTURE, re.IGNORECASE)
"""How JSON begins that is an array of objects, or an object of labels by the paths of pictures."""


def _find(contents: Contents) -> Iterable[Files]:
    tables = contents.near(*SUFFIXES, depth=1)
    tables += [file for file in contents.near(".json", depth=1) if _JSON.match(head(contents.root / file))]
    return [(file,) for file in tables if not is_without_labels(file)]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading:
    table = read_records(contents.root / files[0], options, folder=posixpath.dirname(files[0]))
    return Reading(f"Table: {files[0]} {table.columns_read}", files, table.rows, table.notes)


LAYOUT = Layout(
    "a .csv, .tsv, .json, .jsonl or .parquet with a column for the picture and one for the label", _find, _read
)
