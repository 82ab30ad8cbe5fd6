"""Label Studio's exports of ``Choices``: CSV, TSV, JSON and JSON-MIN.

A picture that was uploaded is named by the path it has on the server, ``/data/upload/1/3fa2c1d0-rose.jpg``, and is
found by its name, with what the upload put before it or without.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vizsla.data.columns import find_columns
from vizsla.data.contents import Contents
from vizsla.data.layouts.reading import Files, Layout, Reading
from vizsla.data.one_hot import several_labels
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record, read_records
from vizsla.data.table_file import head, open_table, read_json
from vizsla.errors import DataError
from vizsla.parameters import spelled

_OWN = "annotation_id annotator created_at updated_at lead_time".split()
"""Columns that Label Studio adds to a task's data and labels."""
_OTHERS = {*_OWN, "id", "agreement", "agreement_selected", "sentiment_agreement"}


def _find(contents: Contents) -> Iterable[Files]:
    return [(file,) for file in contents.near(".csv", ".tsv", ".json", depth=1)]


def _read(contents: Contents, files: Files, options: SourceOptions) -> Reading | None:
    file, folder = contents.root / files[0], posixpath.dirname(files[0])
    if file.suffix.lower() == ".json":
        tasks = _tasks(file)
        if tasks is None:
            return None
        if tasks and "annotations" in tasks[0]:
            name = _control(tasks, file, options)
            records = list(_records(tasks, name, file, folder, options))
            return Reading(f"Label Studio: {files[0]} (JSON, {name})", files, records)
    names = open_table(file).names
    if not set(_OWN) <= set(names):
        return None
    free = [name for name in names if name not in _OTHERS]
    path = find_columns(free, options, file).path
    labels = [name for name in free if name != path]
    if options.label_column is None and len(labels) == 1:
        options = replace(options, label_column=labels[0])
    table = read_records(file, replace(options, path_column=path), folder=folder, may_lack_labels=True)
    return Reading(f"Label Studio: {files[0]} {table.columns_read}", files, table.rows, table.notes)


def _tasks(file: Path) -> list[dict[str, Any]] | None:
    """The tasks of an export, or None where this is none."""
    start = head(file)
    if not start.startswith(b"[") or not (b'"annotations"' in start or b'"annotation_id"' in start):
        return None
    try:
        tasks = read_json(file)
    except (OSError, ValueError):
        return None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        return None
    whole = all(isinstance(task.get("data"), dict) and isinstance(task.get("annotations"), list) for task in tasks)
    return tasks if tasks and (whole or set(_OWN) <= tasks[0].keys()) else None


def _results(task: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The choices of each annotation that was not cancelled."""
    for annotation in task["annotations"]:
        if not annotation.get("was_cancelled"):
            yield [one for one in annotation.get("result", []) if one.get("type") == "choices"]


def _control(tasks: list[dict[str, Any]], file: Path, options: SourceOptions) -> str:
    """The name of the ``Choices`` that are the label."""
    names = sorted({str(one.get("from_name")) for task in tasks for results in _results(task) for one in results})
    if options.label_column in names or (len(names) == 1 and options.label_column is None):
        return options.label_column or names[0]
    raise DataError(
        f"The export has {'choices of ' + ' and '.join(map(repr, names)) if names else 'no choices'}.",
        where=file,
        allowed="one set of choices for each picture",
        do=f"say which is the label: {spelled('label_column', names[0])}"
        if names
        else "export a project whose labels are Choices",
    )


def _records(
    tasks: list[dict[str, Any]], name: str, file: Path, folder: str, options: SourceOptions
) -> Iterator[Record]:
    of_data = SourceOptions(path_column=options.path_column)
    for task in tasks:
        where = f"{file}, task {task.get('id')}"
        data = task["data"]
        picture = str(data[find_columns(list(data), of_data, where).path])
        labels: list[str | None] = []
        for results in _results(task):
            chosen = [str(c) for one in results if one.get("from_name") == name for c in one["value"]["choices"]]
            if len(chosen) > 1:
                raise several_labels(1, f"{picture!r} ({' and '.join(chosen)})", where)
            labels += chosen
        for label in labels or [None]:
            yield Record(picture, label, None, where, None, folder)


LAYOUT = Layout("Label Studio's export of choices: CSV, TSV, JSON or JSON-MIN", _find, _read)
