"""The rows of a table in a file: CSV by any of its delimiters, JSON lines, a JSON array, Parquet."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.data.split_names import split_of
from vizsla.errors import DataError, SourceError
from vizsla.images.formats import ENDINGS as PICTURES
from vizsla.optional import require

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
"""Endings of files that are tables; JSON may be anything."""

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")

Row = tuple[int, dict[str, Any]]
"""A row by its columns' names, with the number a person finds it by."""

_HEAD = 1 << 16
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"sep=(.)\s*")
"""A first line that tells spreadsheets which delimiter follows."""


@dataclass(frozen=True)
class Table:
    """A table that has been opened. ``rows`` can be gone through once.

    ``unit`` is what their numbers count: lines of text from 1, rows from 1. ``class_names`` are the names of the
    classes, where the file itself brings them; ``notes`` say how it was read.
    """

    names: list[str]
    rows: Iterator[Row]
    unit: str
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def open_table(file: Path, names: Sequence[str] | None = None) -> Table:
    """Open a table by the ending of its name; ``names`` are the columns of a CSV that may have no line of names.

    Raises
    ------
    SourceError
        When it cannot be read as a table, here or at any of its rows.
    DataError
        When it has no header and its columns cannot be told.
    """
    suffix = file.suffix.lower()
    rows: Iterator[Row]
    if suffix in (".csv", ".tsv"):
        return _open_csv(file, names)
    if suffix == ".parquet":
        return _open_parquet(file)
    rows = _in_words(file, _json_array(file) if suffix == ".json" else _json_rows(file))
    number, first = next(rows, (0, None))
    return Table(list(first or {}), _chain(number, first, rows), "row" if suffix == ".json" else "line")


def _chain(number: int, first: dict[str, Any] | None, rows: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield number, first
        yield from rows


def _in_words(file: Path, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except DataError:
        raise
    except FileNotFoundError as error:
        raise SourceError("There is no such table.", where=file, do="check the path") from error
    except UnicodeDecodeError as error:
        raise _not_utf8(file) from error
    except (OSError, csv.Error, ValueError, RecursionError) as error:  # pyarrow's errors are ValueErrors
        raise SourceError(f"The table cannot be read: {error}.", where=file, allowed=" ".join(SUFFIXES)) from error


def _not_utf8(file: Path) -> SourceError:
    """Which line is no UTF-8: the error itself counts from the start of a block of the file."""
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                start = line[max(0, error.start - 20) :].strip()[:40]
                return SourceError(
                    f"The table is not UTF-8 text, as in {start.decode('cp1252', 'replace')!r}.",
                    where=f"{file}, line {number}",
                    do="save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')",
                )
    raise AssertionError(file)


def _open_csv(file: Path, given: Sequence[str] | None) -> Table:
    cells = _in_words(file, _cells(file))
    number, first = next(cells, (0, {"": []}))
    if not first[""]:
        raise DataError("The table is empty.", where=file, allowed="a line with the names of the columns, and rows")
    header = [cell.strip() for cell in first[""]]
    if given is not None:
        rows = cells if header == list(given) else _chain(number, first, cells)
        return Table(list(given), _rows(list(given), rows, file), "line")
    if not any(map(_is_picture, header)):
        return Table(header, _rows(header, cells, file), "line")
    names = _names_without_header(header, file)
    note = f"{file.name} has no header: its columns were taken for {', '.join(names)}."
    return Table(names, _rows(names, _chain(number, first, cells), file), "line", notes=(note,))


def _cells(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The cells of each line that is not empty, under the name ``""``."""
    with open(file, encoding="utf-8-sig", newline="") as text:
        head = text.readline()
        named = _SEPARATOR.fullmatch(head)
        if named is None:
            text.seek(0)
        delimiter = (
            named[1] if named else max(_DELIMITERS, key=lambda d: len(next(csv.reader([head], delimiter=d), [])))
        )
        reader = csv.reader(text, delimiter=delimiter, skipinitialspace=True)
        for cells in reader:
            if cells:
                yield reader.line_num + (named is not None), {"": cells}


def _rows(names: list[str], lines: Iterator[Row], file: Path) -> Iterator[Row]:
    for number, line in lines:
        cells = line[""]
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            raise DataError(
                f"This line has {len(cells)} cells, and the table {len(names)} columns.",
                where=f"{file}, line {number}",
                allowed=", ".join(names),
                do='put a cell that holds the delimiter into quotes: "Lhasa, long-haired"',
            )
        yield number, dict(zip(names, cells, strict=False))


def _is_picture(cell: str) -> bool:
    return Path(cell).suffix.lower() in PICTURES


def _names_without_header(cells: list[str], file: Path) -> list[str]:
    """Names for the columns of a table whose first line is a row already."""
    kinds = ["path" if _is_picture(c) else "split" if split_of(c, plainly=True) else "label" for c in cells]
    if sorted(kinds) in (["label", "path"], ["label", "path", "split"]):
        return kinds
    raise DataError(
        f"The table has no header: its first line is a row already, {', '.join(map(repr, cells[:6]))}.",
        where=f"{file}, line 1",
        allowed="a first line with the names of the columns, such as path,label",
        do="add that line",
    )


def _json_rows(file: Path) -> Iterator[Row]:
    with open(file, encoding="utf-8-sig") as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is not an object")
            except (ValueError, RecursionError) as error:
                raise SourceError(
                    f"This line is not a JSON object: {error}.",
                    where=f"{file}, line {number}",
                    allowed='one object a line, such as {"path": "a.jpg", "label": "cat"}',
                ) from error
            yield number, row


def _json_array(file: Path) -> Iterator[Row]:
    value = read_json(file)
    if isinstance(value, dict) and value and all(isinstance(label, (str, int)) for label in value.values()):
        value = [{"path": path, "label": label} for path, label in value.items()]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise ValueError("it is neither an array of objects nor an object of labels by path")
    yield from enumerate(value, start=1)


def head(file: Path) -> bytes:
    """The first bytes of a file, to tell what it may be without reading it all; empty where it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read(_HEAD).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:
        return b""


def read_json(file: Path) -> Any:
    """The value in a JSON file.

    Raises
    ------
    OSError, ValueError, RecursionError
        When there is none.
    """
    import orjson

    return orjson.loads(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))


def _open_parquet(file: Path) -> Table:
    parquet = require("pyarrow.parquet", extra="train", feature="Reading Parquet tables")

    def rows() -> Iterator[Row]:
        number = 0
        with parquet.ParquetFile(file) as table:
            schema = table.schema_arrow
            yield 0, {"names": schema.names, "metadata": schema.metadata or {}}
            for batch in table.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row

    read = _in_words(file, rows())
    _, schema = next(read)
    return Table(schema["names"], read, "row", _class_names(schema["metadata"]))


def _class_names(metadata: dict[bytes, bytes]) -> tuple[str, ...]:
    """The names of a ``ClassLabel`` that the library datasets writes beside the numbers."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return ()
    labels = [feature.get("names") for feature in features.values() if feature.get("_type") == "ClassLabel"]
    return tuple(map(str, labels[0])) if len(labels) == 1 and labels[0] else ()
