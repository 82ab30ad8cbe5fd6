"""FiftyOne's ``FiftyOneImageClassificationDataset``: ``labels.json`` beside the folder ``data``.

``labels`` are by file name without ending: a class, the number of one in ``classes``, or an object with more
(FiftyOne, "Exporting datasets").
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.one_hot import several_labels
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
from vizsla.data.split_names import split_of
from vizsla.data.table_file import read_json


def _find(contents: Contents) -> Iterable[Files]:
    return [tuple(file for file in contents.near(".json") if posixpath.basename(file) == "labels.json")]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records = []
    for file in files:
        try:
            value = read_json(contents.root / file)
        except (OSError, ValueError):
            return None
        if not isinstance(value, dict) or not isinstance(value.get("labels"), dict) or "classes" not in value:
            return None
        folder = posixpath.dirname(file)
        split = split_of(posixpath.basename(folder), plainly=True)
        for name, entry in value["labels"].items():
            where = f"{contents.root / file}, {name}"
            label = _label(entry, value["classes"] or [], where)
            records.append(Record(name, label, split, where, None, posixpath.join(folder, "data")))
    return Reading(f"FiftyOne: {', '.join(files)}", files, records)


def _label(entry: Any, classes: list[Any], where: str) -> str | None:
    if isinstance(entry, dict):
        entry = entry.get("label")
    if isinstance(entry, list):
        if len(entry) > 1:
            raise several_labels(1, " and ".join(str(_label(one, classes, where)) for one in entry), where)
        entry = entry[0] if entry else None
    if isinstance(entry, int) and 0 <= entry < len(classes):
        return str(classes[entry])
    return None if entry is None else str(entry)


LAYOUT = Layout("labels.json beside data/, as FiftyOne exports classifications", _find, _read)
