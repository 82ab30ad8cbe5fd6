"""Datumaro's own format, which CVAT exports too: ``annotations/<subset>.json`` with labels of items."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.one_hot import several_labels
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record
from vizsla.data.split_names import split_of
from vizsla.data.table_file import head, read_json

_START = re.compile(rb'"dm_format_version"|"categories"\s*:\s*\{')
"""What COCO's annotations, which lie in such folders too, do not begin with."""


def _find(contents: Contents) -> Iterable[Files]:
    return [tuple(file for file in contents.near(".json") if file.split("/")[-2:-1] == ["annotations"])]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    records = []
    for file in files:
        if not _START.search(head(contents.root / file)):
            return None
        try:
            value = read_json(contents.root / file)
            names = [label["name"] for label in value["categories"]["label"]["labels"]]
            items = value["items"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        subset = posixpath.splitext(posixpath.basename(file))[0]
        folder = posixpath.join(posixpath.dirname(posixpath.dirname(file)), "images", subset)
        for item in items:
            where = f"{contents.root / file}, {item['id']}"
            labels = [names[one["label_id"]] for one in item["annotations"] if one["type"] == "label"]
            if len(set(labels)) > 1:
                raise several_labels(1, f"{item['id']!r} ({' and '.join(labels)})", where)
            picture = (item.get("image") or {}).get("path") or item["id"]
            split = split_of(subset, plainly=True)
            records.append(Record(picture, labels[0] if labels else None, split, where, None, folder))
    return Reading(f"Datumaro: {', '.join(files)}", files, records)


LAYOUT = Layout("annotations/<subset>.json with labels, as Datumaro and CVAT export", _find, _read)
