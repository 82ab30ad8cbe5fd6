"""Tables of pictures: CSV, TSV, JSON lines or Parquet with the columns path, label[, split][, group]."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.data.dataset import Split
from vizsla.data.folders import SPLIT_FOLDERS
from vizsla.data.listing import Listing
from vizsla.errors import DataError, SourceError
from vizsla.optional import require

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_COLUMNS = "path and label, and as you like split, group"

Row = tuple[int, dict[str, Any]]


def list_table(file: Path, group_by: str | None = None) -> Listing:
    """List the pictures that a table names. Paths are relative to the table's folder, or absolute.

    Parameters
    ----------
    group_by:
        The column that holds the groups; by default ``group``, where the table has it.

    Raises
    ------
    DataError
        For a missing column, an empty cell, an unknown split, a class that has no training picture, one picture
        under two labels.
    SourceError
        When the file cannot be read as a table.
    """
    listing = Listing(file.stem, file.parent)
    groups: list[str] = []
    seen: dict[str, tuple[int, str]] = {}
    twice = 0
    column = None
    unit = "line" if file.suffix.lower() != ".parquet" else "row"
    for number, row in _rows(file):
        where = f"{file}, {unit} {number}"
        if column is None:
            column = _check_columns(row, file, group_by)
        path, label = (_cell(row, name, where) for name in ("path", "label"))
        path = path.replace("\\", "/")
        if path in seen:
            first, other = seen[path]
            if other != label:
                raise DataError(
                    f"{path!r} is labelled {label!r} here and {other!r} in {unit} {first}.",
                    where=where,
                    allowed="one label for each picture",
                    do="keep the right one of the two",
                )
            twice += 1
            continue
        seen[path] = number, label
        listing.paths.append(path)
        listing.labels.append(label)
        listing.splits.append(_split(row, where))
        if column:
            group = row.get(column)
            groups.append(f"\0{path}" if group in (None, "") else str(group))
    if not listing.paths:
        raise DataError("The table holds no rows.", where=file, allowed=f"a table with the columns {_COLUMNS}")
    if column:
        listing.groups = groups
    if twice:
        listing.notes.append(f"{twice:,} rows of the table repeat an earlier one and were passed over.")
    _check_classes(listing, {path: number for path, (number, _) in seen.items()}, file, unit)
    _check_there(listing, file)
    return listing


def _rows(file: Path) -> Iterator[Row]:
    """Rows with the number a person finds them by: lines from 1 in text, rows from 1 in Parquet."""
    suffix = file.suffix.lower()
    try:
        if suffix == ".parquet":
            parquet = require("pyarrow.parquet", extra="train", feature="Reading Parquet tables")
            number = 0
            with parquet.ParquetFile(file) as table:
                for batch in table.iter_batches():
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        elif suffix in (".jsonl", ".ndjson"):
            yield from _json_rows(file)
        else:
            with open(file, encoding="utf-8-sig", newline="") as text:
                reader = csv.DictReader(text, delimiter="\t" if suffix == ".tsv" else ",", skipinitialspace=True)
                for row in reader:
                    yield reader.line_num, row
    except DataError:
        raise
    except FileNotFoundError as error:
        raise SourceError("There is no such table.", where=file, do="check the path") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"The table is not UTF-8 text ({error.reason} at byte {error.start}).",
            where=file,
            do="save it as UTF-8 (in a spreadsheet: 'CSV UTF-8')",
        ) from error
    except (OSError, csv.Error, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise SourceError(f"The table cannot be read: {error}.", where=file, allowed=" ".join(SUFFIXES)) from error


def _json_rows(file: Path) -> Iterator[Row]:
    with open(file, encoding="utf-8-sig") as text:
        for number, line in enumerate(text, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is not an object")
            except ValueError as error:
                raise SourceError(
                    f"This line is not a JSON object: {error}.",
                    where=f"{file}, line {number}",
                    allowed='one object a line, such as {"path": "a.jpg", "label": "cat"}',
                ) from error
            yield number, row


def _check_columns(row: dict[str, Any], file: Path, group_by: str | None) -> str | None:
    """Make sure of the columns; return the one that holds the groups."""
    names = [str(name) for name in row if name is not None]
    for needed in ("path", "label"):
        if needed not in names:
            close = difflib.get_close_matches(needed, names, 1) or [name for name in names if name.strip() == needed]
            raise DataError(
                f"The table has no column {needed!r}; its columns are {', '.join(names) or 'none'}.",
                where=file,
                allowed=f"the columns {_COLUMNS}",
                do=f"rename {close[0]!r} to {needed!r}" if close else f"add a column {needed!r}",
            )
    if group_by in names:
        return group_by
    return "group" if group_by is None and "group" in names else None


def _cell(row: dict[str, Any], name: str, where: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        raise DataError(f"The column {name!r} is empty.", where=where, do="fill it in, or remove the row")
    return str(value)


def _split(row: dict[str, Any], where: str) -> Split | None:
    value = row.get("split")
    if value is None or not str(value).strip():
        return None
    split = SPLIT_FOLDERS.get(str(value).strip().lower())
    if split is None:
        raise DataError(
            f"There is no split {value!r}.",
            where=where,
            allowed=", ".join(sorted(SPLIT_FOLDERS)) + ", or empty",
        )
    return split


def _check_classes(listing: Listing, numbers: dict[str, int], file: Path, unit: str) -> None:
    """A class that only valid or test rows have is most often a slip of the pen."""
    trained = {label for label, split in zip(listing.labels, listing.splits, strict=True) if split in (None, "train")}
    if not trained:
        return
    for path, label in zip(listing.paths, listing.labels, strict=True):
        if label not in trained:
            close = difflib.get_close_matches(label, sorted(trained), 1)
            raise DataError(
                f"Unknown class {label!r}: no training row has it.",
                where=f"{file}, {unit} {numbers[path]}",
                allowed=", ".join(sorted(trained)[:12]) + (" ..." if len(trained) > 12 else ""),
                do=f"did you mean {close[0]!r}?" if close else "correct it, or add training rows of that class",
            )


def _check_there(listing: Listing, file: Path) -> None:
    if not any((listing.root / path).exists() for path in listing.paths[:1000]):
        raise DataError(
            f"None of the pictures is there, such as {listing.paths[0]!r}.",
            where=file,
            allowed=f"absolute paths, or paths relative to {file.parent.resolve()}",
            do="correct the paths, or put the table beside the pictures",
        )
