"""The journal as one table: lines of JSON, or Parquet. Block by block: memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from vizsla.files import replacing
from vizsla.optional import require

_BLOCK = 4096


def rows(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What the journal's lines say of records: ``input``, of lines of a file ``record``, and what the model said."""
    for line in lines:
        if line.get("record", 0) is not None:
            yield {name: value for name, value in line.items() if name != "end"}


def write_jsonl(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """One line of JSON a record."""
    with replacing(path) as file:
        for row in rows(lines):
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def write_parquet(path: Path, lines: Iterable[dict[str, Any]], classes: Sequence[str] | None, *, split: bool) -> None:
    """One row a record: ``input``[, ``record``], ``label``, ``probability``, ``probabilities`` (or ``output``, what a
    model's own code or a filter made), ``error_kind``, ``error``. The classes stand in the schema's metadata.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    """
    arrow = require("pyarrow", extra="train", feature="A table in Parquet")
    parquet = require("pyarrow.parquet", extra="train", feature="A table in Parquet")
    text = arrow.string()
    columns = [("input", text)] + ([("record", arrow.int64())] if split else [])
    if classes is None:
        columns += [("output", text)]
    else:
        columns += [("label", text), ("probability", arrow.float32()), ("probabilities", arrow.list_(arrow.float32()))]
    columns += [("error_kind", text), ("error", text)]
    metadata = {} if classes is None else {"classes": orjson.dumps(list(classes)).decode()}
    schema = arrow.schema(columns, metadata)
    with replacing(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        all_rows = rows(lines)
        while block := list(islice(all_rows, _BLOCK)):
            writer.write_table(arrow.Table.from_pylist([_flat(row) for row in block], schema=schema))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    error = row.get("error") or {}
    return row | {"error_kind": error.get("kind"), "error": error.get("what")}
