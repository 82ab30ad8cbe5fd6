"""WebDataset: beside each picture a file of its name with the label, ``.cls``, ``.json`` or ``.txt``.

A sample's key is the path up to the first dot of its file's name (webdataset, "The WebDataset Format"). Shards are
unpacked into one folder for each; their names tell the split.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from vizsla.data.columns import find_columns
from vizsla.data.contents import Contents
from vizsla.data.dataset import Split
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
from vizsla.data.split_names import split_of
from vizsla.data.table_file import read_json
from vizsla.errors import DataError, SourceError
from vizsla.parameters import spelled

_KINDS = (".cls", ".json", ".txt")
"""Endings of files that hold a label, the surest first."""
_MOST_CHARACTERS = 200
_COVERED = 0.9
"""The share of the pictures that must have a label beside them."""


def _key(path: str) -> str:
    folder, name = posixpath.split(path)
    return posixpath.join(folder, name.partition(".")[0])


def _find(contents: Contents) -> Iterable[Files]:
    keys = {_key(path) for path in contents.pictures}
    files: Files = ()
    for kind in _KINDS:
        beside = tuple(file for file in contents.files if _suffix(file) == kind and _key(file) in keys)
        if len(beside) >= _COVERED * len(keys):
            files += beside
    return [files]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading:
    kinds = [kind for kind in _KINDS if any(_suffix(file) == kind for file in files)]
    for kind in kinds:
        of_key = {_key(file): file for file in files if _suffix(file) == kind}
        try:
            records = [
                Record(picture, _label(contents.root / file, options), _split(picture), str(contents.root / file))
                for picture in contents.pictures
                if (file := of_key.get(_key(picture)))
            ]
        except DataError:
            if kind == kinds[-1]:
                raise
            continue
        return Reading(f"WebDataset: a {kind} for each picture", files, records, is_hint=True)
    raise AssertionError(files)


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _label(file: Path, options: SourceOptions) -> str | None:
    try:
        if _suffix(file.name) == ".json":
            value = read_json(file)
            if isinstance(value, dict):
                column = _column(value, options, file)
                value = value[column]
            return None if value is None else str(value)
        text = file.read_text("utf-8-sig").strip()
        if len(text) > _MOST_CHARACTERS or "\n" in text:
            raise DataError(
                f"This is a text and no label: {text[:40]!r}.", where=file, allowed="one line, the name of the class"
            )
        return text or None
    except (OSError, ValueError) as error:
        raise SourceError(f"The label cannot be read: {error}.", where=file, do="write it again") from error


def _column(value: dict[str, object], options: SourceOptions, file: Path) -> str:
    names = ["path", *value]
    label = find_columns(names, SourceOptions(path_column="path", label_column=options.label_column), file).label
    if label is None:
        raise DataError(
            f"No entry could be the label; there are {', '.join(map(repr, value)) or 'none'}.",
            where=file,
            allowed="an entry such as label",
            do=f"say which it is with {spelled('label_column')}",
        )
    return label


def _split(path: str) -> Split | None:
    """The split that the name of a shard's folder means, or of one above."""
    for part in reversed(path.split("/")[:-1]):
        if split := split_of(part):
            return split
    return None


LAYOUT = Layout("shards (.tar) of pictures with .cls, .json or .txt beside each", _find, _read)
