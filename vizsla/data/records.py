"""The labelled rows of a table: which picture, which class, which split, and where that is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vizsla.data.columns import Columns, find_columns, missing
from vizsla.data.dataset import Split
from vizsla.data.folders import SPLIT_FOLDERS
from vizsla.data.options import SourceOptions
from vizsla.data.table_file import Row, open_table
from vizsla.errors import DataError


class Record(NamedTuple):
    """What is said of one picture. ``picture`` is its path or id as it was written; ``label`` is None where none is
    given; ``where`` names file and line; ``folder`` is where paths begin, relative to the root."""

    picture: str
    label: str | None
    split: Split | None
    where: str
    group: str | None = None
    folder: str = ""


@dataclass(frozen=True)
class Records:
    """The records of one table, the columns that they come from, and notes on how it was read."""

    rows: list[Record]
    columns: Columns
    notes: list[str]

    @property
    def told(self) -> str:
        """The columns that were read, for a person."""
        return f"({self.columns.path}, {self.columns.label or 'a column for each class'})"

    @property
    def labelled(self) -> bool:
        """Whether any record has a label."""
        return any(row.label is not None for row in self.rows)


def read_records(
    file: Path,
    options: SourceOptions,
    *,
    folder: str = "",
    split: Split | None = None,
    may_lack_labels: bool = False,
) -> Records:
    """Read the rows of a table. A class is a value of the label's column, or one of several columns of 0 and 1.

    Parameters
    ----------
    folder:
        Where its paths begin, relative to the root.
    split:
        The split of rows that do not say theirs.
    may_lack_labels:
        Whether rows may have an empty label, or the table no column for it: their label is then None.

    Raises
    ------
    DataError
        For a missing column, an empty cell, an unknown split, a row of several classes.
    SourceError
        When the file cannot be read as a table.
    UsageError
        When an option names a column that is not there.
    """
    table = open_table(file)
    columns = find_columns(table.names, options, file)
    notes = list(table.notes)
    label: Callable[[Row, str], str | None]
    if columns.label is not None:
        name, classes = columns.label, table.class_names
        label = lambda row, where: _label(row[1].get(name), name, where, classes, may_lack_labels)  # noqa: E731
    elif len(columns.others) > 1:
        label = _OneHot(columns, file, table.names)
    elif may_lack_labels:
        label = lambda row, where: None  # noqa: E731
    else:
        raise missing("label", table.names, file)
    rows = []
    for number, row in table.rows:
        where = f"{file}, {table.unit} {number}"
        picture = _text(row.get(columns.path), columns.path, where).replace("\\", "/")
        own = _split(row.get(columns.split), where) if columns.split else None
        group = None if columns.group is None else row.get(columns.group)
        key = None if group in (None, "") else str(group)
        rows.append(Record(picture, label((number, row), where), own or split, where, key, folder))
    if isinstance(label, _OneHot):
        try:
            notes += label.verdict()
        except DataError:
            if not may_lack_labels or label.multiple:
                raise
            rows = [row._replace(label=None) for row in rows]
    return Records(rows, columns, notes)


class _OneHot:
    """Labels from columns of 0 and 1, one a class."""

    def __init__(self, columns: Columns, file: Path, names: list[str]) -> None:
        self.columns, self.file, self.names = columns, file, names
        self.multiple: list[tuple[int, list[str]]] = []
        self.none = 0
        self.is_other = False

    def __call__(self, row: Row, where: str) -> str | None:
        number, cells = row
        marked = []
        for name in self.columns.others:
            value = str(cells.get(name)).strip()
            if value in ("1", "1.0", "True", "true"):
                marked.append(name)
            elif value not in ("0", "0.0", "False", "false"):
                self.is_other = True
        if len(marked) > 1:
            self.multiple.append((number, marked))
        self.none += not marked
        return marked[0] if marked else None

    def verdict(self) -> list[str]:
        """Notes, after the last row.

        Raises
        ------
        DataError
            When the columns hold something else, or rows have several ones.
        """
        if self.is_other:
            self.multiple = []
            raise missing("label", self.names, self.file)
        if self.multiple:
            number, names = self.multiple[0]
            raise several_labels(len(self.multiple), f"line {number} ({' and '.join(names)})", self.file)
        return [f"{self.none:,} rows of {self.file.name} have no class and were passed over."] if self.none else []


def several_labels(count: int, first: str, where: object) -> DataError:
    """What to say of pictures that have more than one label."""
    return DataError(
        f"{count:,} picture{'s have' if count > 1 else ' has'} more than one class, such as {first}: this is a "
        "multi-label data set.",
        where=where,
        allowed="one class for each picture",
        do="export it with single labels, or take these pictures out",
    )


def _label(value: Any, name: str, where: str, classes: tuple[str, ...], may_lack: bool) -> str | None:
    value = _choices(value)
    if isinstance(value, list):
        if len(value) > 1:
            raise several_labels(1, f"{' and '.join(map(str, value))}", where)
        value = value[0] if value else None
    if may_lack and (value is None or value == ""):
        return None
    if classes and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    return _text(value, name, where)


def _choices(value: Any) -> Any:
    """What Label Studio writes where several choices may be made: an object, in CSV as JSON."""
    if isinstance(value, str) and value.startswith('{"choices"'):
        try:
            value = json.loads(value)
        except ValueError:
            return value
    return value["choices"] if isinstance(value, dict) and "choices" in value else value


def _text(value: Any, name: str, where: str) -> str:
    if value is None or value == "":
        raise DataError(f"The column {name!r} is empty.", where=where, do="fill it in, or remove the row")
    if isinstance(value, dict):
        raise DataError(
            f"The column {name!r} holds {'the pictures themselves' if 'bytes' in value else 'objects'}.",
            where=where,
            allowed="text: the path of each picture, or its label",
            do="write the pictures as files, and their paths into the table",
        )
    return str(value)


def _split(value: Any, where: str) -> Split | None:
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
