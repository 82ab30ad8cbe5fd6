"""The labelled rows of a table: which picture, which class, which split, and where that is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vizsla.data.columns import Columns, find_columns, missing
from vizsla.data.dataset import Split
from vizsla.data.one_hot import FALSE, TRUE, OneHot, several_labels
from vizsla.data.options import SourceOptions
from vizsla.data.split_names import SPLIT_FOLDERS, split_of
from vizsla.data.table_file import Row, Table, open_table
from vizsla.errors import DataError

_FLAGS: dict[str, Split] = {"is_valid": "valid", "is_val": "valid", "is_test": "test"}
"""Columns that tell of one split whether a picture is in it, as fastai writes them."""
_FLOAT = re.compile(r"-?\d+\.0")


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
    def columns_read(self) -> str:
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
    one_hot: bool = False,
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
    one_hot:
        Whether the first column is the picture and each other one a class, whatever their names.

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
    names = table.names
    columns = Columns(names[0], None, None, None, tuple(names[1:])) if one_hot else find_columns(names, options, file)
    label = _label_reader(columns, table, file, may_lack_labels)
    rows, splits = [], []
    for number, row in table.rows:
        where = f"{file}, {table.unit} {number}"
        picture = _text(row.get(columns.path), columns.path, where).replace("\\", "/")
        group = None if columns.group is None else row.get(columns.group)
        key = None if group in (None, "") else str(group)
        rows.append(Record(picture, label((number, row), where), split, where, key, folder))
        if columns.split is not None:
            splits.append(row.get(columns.split))
    rows = _without_point_zero(rows)
    _check_single(rows)
    notes = list(table.notes)
    if isinstance(label, OneHot):
        if label.is_none and not may_lack_labels:
            raise missing("label", table.names, file)
        if label.is_none:
            rows = [row._replace(label=None) for row in rows]
        else:
            label.check()
    if columns.split is not None:
        rows, note = _with_splits(rows, splits, columns.split, is_sure=columns.split in ("split", options.split_column))
        notes += note
    return Records(rows, columns, notes)


def _check_single(rows: list[Record]) -> None:
    """Refuse labels such as ``cat|dog`` in a table that has ``cat`` and ``dog``, too."""
    labels = {row.label for row in rows if row.label is not None}
    joined = {
        label
        for label in labels
        for delimiter in "|;,"
        if delimiter in label and {part.strip() for part in label.split(delimiter)} <= labels
    }
    several = [row for row in rows if row.label in joined]
    if several:
        raise several_labels(len(several), f"{several[0].picture!r} ({several[0].label})", several[0].where)


def _without_point_zero(rows: list[Record]) -> list[Record]:
    """Ids and labels that are whole numbers, without the ``.0`` that pandas gives all where one is missing."""
    if rows and all(_FLOAT.fullmatch(row.picture) for row in rows):
        rows = [row._replace(picture=row.picture.removesuffix(".0")) for row in rows]
    labels = {row.label for row in rows} - {None}
    if labels and all(_FLOAT.fullmatch(label) for label in labels if label):
        rows = [row if row.label is None else row._replace(label=row.label.removesuffix(".0")) for row in rows]
    return rows


def _label_reader(
    columns: Columns, table: Table, file: Path, may_lack_labels: bool
) -> Callable[[Row, str], str | None]:
    if columns.label is not None:
        name = columns.label
        return lambda row, where: _label(row[1].get(name), name, where, table.class_names, may_lack_labels)
    if len(columns.others) > 1:
        return OneHot(columns.others, file)
    if may_lack_labels:
        return lambda row, where: None
    raise missing("label", table.names, file)


def _split(value: str, name: str) -> Split | None:
    """The split that a cell means. Columns such as ``is_valid`` hold truths."""
    flag = _FLAGS.get(name.casefold())
    if flag is None:
        return split_of(value, plainly=True)
    return flag if value.lower() in TRUE else "train" if value.lower() in FALSE else None


def _with_splits(rows: list[Record], values: list[Any], name: str, *, is_sure: bool) -> tuple[list[Record], list[str]]:
    """The rows with the splits of a column. One that only might be about splits is none where it holds other words."""
    splits: list[Split | None] = []
    for row, value in zip(rows, values, strict=True):
        text = "" if value is None else str(value).strip()
        split = _split(text, name)
        if text and split is None:
            if not is_sure:
                return rows, [f"The column {name!r} was not taken for splits, as it holds {text!r:.40}."]
            raise DataError(
                f"There is no split {value!r}.",
                where=row.where,
                allowed=", ".join(sorted(SPLIT_FOLDERS)) + ", or empty",
            )
        splits.append(split or row.split)
    return [row._replace(split=split) for row, split in zip(rows, splits, strict=True)], []


def _label(value: Any, name: str, where: str, classes: tuple[str, ...], may_lack: bool) -> str | None:
    value = _choices(value)
    if isinstance(value, list):
        if len(value) > 1:
            raise several_labels(1, f"{' and '.join(map(str, value))}", where)
        value = value[0] if value else None
    if may_lack and _is_absent(value):
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
    if _is_absent(value):
        raise DataError(f"The column {name!r} is empty.", where=where, do="fill it in, or remove the row")
    if isinstance(value, dict):
        embedded = "bytes" in value
        raise DataError(
            f"The column {name!r} holds "
            + ("the pictures themselves." if embedded else f"objects with {', '.join(map(str, value)) or 'nothing'}."),
            where=where,
            allowed="text: the path of each picture, or its label",
            do="write the pictures as files, and their paths into the table"
            if embedded
            else "write what is meant of each object as text",
        )
    return str(value)


def _is_absent(value: Any) -> bool:
    """Whether a cell is empty; pandas writes NaN into Parquet, and as text where a column was made text."""
    return value is None or value != value or (isinstance(value, str) and value.strip() in ("", "nan", "NaN", "<NA>"))
