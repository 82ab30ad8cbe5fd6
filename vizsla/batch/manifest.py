"""A manifest: a file that names the inputs.

Three forms: SageMaker's ManifestFile (a JSON list whose first entry is ``{"prefix": ...}``), its AugmentedManifestFile
(lines of JSON with ``source-ref``), and a table or list of paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vizsla.data.columns import find_columns
from vizsla.data.options import SourceOptions
from vizsla.data.table_file import TABLES, open_table
from vizsla.errors import DataError
from vizsla.jobs.spec import local_path

_FORMS = (
    '[{"prefix": "s3://bucket/folder/"}, "a.jpg", ...], lines of {"source-ref": "s3://..."}, a table with a column '
    "path, or one path a line"
)


@dataclass(frozen=True)
class Entry:
    """One input: the name of its output, and where it lies (a path, or an ``s3://`` address)."""

    key: str
    address: str


def read_manifest(file: Path, beside: str | None = None) -> list[Entry]:
    """The inputs that a manifest names, in its order. Relative names begin at ``beside``, by default its folder.

    Raises
    ------
    DataError
        When it cannot be read as one, names nothing, or names an input twice.
    """
    base = f"{beside}/" if beside is not None else str(file.parent)
    entries: list[Entry] = []
    lines: dict[str, str] = {}
    for place, prefix, name in _names(file):
        address = _joined(prefix if prefix is not None else base, name)
        key = _key(name if prefix is not None or beside is not None else os.path.relpath(address, base), address)
        if key in lines:
            raise DataError(
                f"The input {name!r:.200} is listed twice: {lines[key]} and {place}.",
                where=file,
                allowed="each input once",
                do="take one of them out: both would have the same output",
            )
        lines[key] = place
        entries.append(Entry(key, address))
    if not entries:
        raise DataError("The manifest names no input.", where=file, allowed=_FORMS)
    return entries


def _joined(base: str, name: str) -> str:
    if "://" in name:
        path = local_path(name)
        return name if path is None else str(path)
    if base.startswith("s3://"):
        return base + name  # SageMaker's prefix ends in a slash where it is meant to
    place = local_path(base)
    return os.path.normpath(os.path.join(place if place is not None else base, name))


def _key(name: str, address: str) -> str:
    """The name of the output: relative, and within the job whatever the manifest says."""
    if "://" in name or name.startswith(("/", "..")):
        name = address.partition("://")[2].partition("/")[2] if "://" in address else address
    return str(PurePosixPath(*[part for part in PurePosixPath(name).parts if part not in ("/", "..")]))


def _names(file: Path) -> Iterator[tuple[str, str | None, str]]:
    """Of each input: where it is said, the prefix that it is below, its name."""
    if file.suffix.lower() in TABLES and file.suffix.lower() not in (".jsonl", ".ndjson"):
        table = open_table(file)
        column = find_columns(table.names, SourceOptions(), file).path
        for number, row in table.rows:
            yield f"{table.unit} {number}", None, str(row.get(column) or "").replace("\\", "/")
        return
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The manifest cannot be read: {error}.", where=file, allowed=_FORMS) from error
    if text.lstrip().startswith("["):
        yield from _json_list(text, file)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name = _source_ref(line, number, file) if line.lstrip().startswith("{") else line.strip()
        yield f"line {number}", None, name


def _json_list(text: str, file: Path) -> Iterator[tuple[str, str | None, str]]:
    try:
        document = json.loads(text)
        prefix = None
        for place, entry in enumerate(document):
            if place == 0 and isinstance(entry, dict):
                prefix = str(entry["prefix"])
            elif isinstance(entry, str):
                yield f"entry {place}", prefix, entry
            else:
                raise ValueError(f"entry {place} is no text")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"The manifest cannot be read: {error}.", where=file, allowed=_FORMS) from error


def _source_ref(line: str, number: int, file: Path) -> str:
    try:
        fields = json.loads(line)
        names = [fields[name] for name in ("source-ref", "path", "image", "file") if isinstance(fields.get(name), str)]
        return str(names[0])
    except (ValueError, IndexError) as error:
        words = "it names no picture" if isinstance(error, IndexError) else str(error)
        raise DataError(
            f"Line {number} of the manifest cannot be read: {words}.", where=file, allowed=_FORMS
        ) from error
