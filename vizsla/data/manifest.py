"""The manifest: one row a picture, with what was decided about it, in Parquet.

It is written and read in blocks, so that memory does not grow with its rows by more than a few bytes each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Dataset
from vizsla.data.decisions import (
    ABSENT,
    INDEX,
    KEEP,
    LEFT_OUT,
    OK,
    OURS,
    STATUSES,
    Decisions,
    Rows,
    in_order,
    index_rows,
    load_index,
    save_index,
)
from vizsla.data.scan_store import Records, digests
from vizsla.errors import DataError
from vizsla.files import check_folder, replacing
from vizsla.optional import require

_BLOCK = 1 << 14
_NEEDED = ("path", "split", "status", "reason", "sha256")


def write_manifest(
    path: Path,
    dataset: Dataset,
    records: Records,
    status: npt.NDArray[np.int8],
    reasons: Mapping[int, str],
    groups: Sequence[str] | None = None,
) -> None:
    """Replace the manifest by one row a picture; rows of the earlier one whose picture is absent now stay in it.

    Parameters
    ----------
    records:
        The scan's, (n,); rows of unreadable pictures are zero and give nulls.
    status:
        int8 (n,), positions in :data:`STATUSES`.
    groups:
        The source's own name of each picture's group.

    Raises
    ------
    StorageError
        When it cannot be written.
    """
    arrow = require("pyarrow", extra="train", feature="The manifest")
    parquet = require("pyarrow.parquet", extra="train", feature="The manifest")
    text, whole = arrow.string(), arrow.int64()
    kind = arrow.dictionary(arrow.int32(), text)
    names = ["path", "label", "split", "group", "sha256", "phash", "size", "width", "height", "status", "reason"]
    types = [text, kind, kind, text, text, text, whole, arrow.int32(), arrow.int32(), kind, text]
    schema = arrow.schema(list(zip(names, types, strict=True)))

    words, contents = digests(dataset.paths), np.ascontiguousarray(records["sha256"]).view(np.uint64)[:, 0]
    decided = _by_person(status, reasons)
    index = [index_rows(words, contents, dataset.splits, decided)]
    texts = {int(words[row]): reasons[row] for row in np.flatnonzero(decided != OK).tolist() if row in reasons}
    with replacing(path, make_folder=True) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(dataset), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(dataset)))
            columns = _columns(arrow, dataset, records, status, reasons, groups, rows)
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
        for absent in _absent(path, parquet, words):
            columns = []
            for name, target in zip(names, types, strict=True):
                values = arrow.array([row.get(name) for row in absent], text if target == kind else target)
                columns.append(values.dictionary_encode() if target == kind else values)
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
            part_index, part_texts = _index_of(absent, path)
            index.append(part_index)
            texts |= part_texts
    save_index(path, Decisions(in_order(index), texts))


def _columns(
    arrow: Any,
    dataset: Dataset,
    records: Records,
    status: npt.NDArray[np.int8],
    reasons: Mapping[int, str],
    groups: Sequence[str] | None,
    rows: slice,
) -> list[Any]:
    """The columns of some rows, in the schema's order."""
    text, part = arrow.string(), records[rows]
    unread = part["bytes"] == 0
    keys = [None] * len(part) if groups is None else [_text(key) if key[:1] != "\0" else None for key in groups[rows]]

    def codes(values: npt.NDArray[Any], names: Sequence[str]) -> Any:
        return arrow.DictionaryArray.from_arrays(arrow.array(values[rows], arrow.int32()), arrow.array(names, text))

    return [
        arrow.array([_text(path) for path in dataset.paths[rows]], text),
        codes(dataset.labels, [_text(label) for label in dataset.classes]),
        codes(dataset.splits, SPLITS),
        arrow.array(keys, text),
        _hexadecimal(arrow, part["sha256"], unread),
        _hexadecimal(arrow, part["phash"], unread),
        *(arrow.array(part[name], mask=unread) for name in ("bytes", "width", "height")),
        codes(status, STATUSES),
        arrow.array([reasons.get(row) for row in range(rows.start, rows.stop)], text),
    ]


def _absent(path: Path, parquet: Any, present: npt.NDArray[np.uint64]) -> Iterator[list[dict[str, Any]]]:
    """Rows of the manifest at ``path`` whose picture is not among the present ones."""
    if not path.is_file():
        return
    present = np.sort(present)
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_BLOCK):
            words = digests(batch.column("path").to_pylist())
            absent = np.ones(len(words), bool)
            if len(present):
                absent = present[np.minimum(np.searchsorted(present, words), len(present) - 1)] != words
            if not absent.any():
                continue
            rows = batch.take(np.flatnonzero(absent)).to_pylist()
            for row in rows:
                if _person(_code(row["status"], STATUSES, "status", path), row["reason"]) == OK:
                    row["status"], row["reason"] = STATUSES[ABSENT], None
            yield rows


def read_decisions(path: Path) -> Decisions:
    """What the manifest at ``path`` says; nothing when there is none.

    An index beside it holds what is needed here, for as long as nobody else changes the manifest.

    Raises
    ------
    DataError
        When the manifest cannot be read, or a person wrote something into it that is not known.
    """
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        check_folder(path.parent)  # not after minutes of looking at pictures
        return Decisions(np.zeros(0, INDEX))
    index = load_index(path, stat.st_size, stat.st_mtime_ns)
    if index is None:
        index = _read(path)
        with contextlib.suppress(OSError):
            save_index(path, index)
    return index


def _read(path: Path) -> Decisions:
    parquet = require("pyarrow.parquet", extra="train", feature="The manifest")
    parts: list[Rows] = []
    texts: dict[int, str] = {}
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BLOCK, columns=list(_NEEDED)):
                part, reasons = _index_of(batch.select(_NEEDED).to_pylist(), path)
                parts.append(part)
                texts |= reasons
    except DataError:
        raise
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors and KeyErrors
        raise DataError(
            f"The manifest cannot be read: {str(error).splitlines()[0]}.",
            where=path,
            allowed=f"the Parquet file that `vizsla check` has written, with its columns {', '.join(_NEEDED)}",
            do="restore it, or remove it: the splits are then drawn anew",
        ) from error
    return Decisions(in_order(parts), texts)


def _index_of(rows: Sequence[Mapping[str, Any]], path: Path) -> tuple[Rows, dict[int, str]]:
    """The index of some rows of the manifest, and a person's reasons."""
    words = digests([row["path"] for row in rows])
    contents = np.array(
        [int.from_bytes(bytes.fromhex((row["sha256"] or "")[:16]), "little") for row in rows], np.uint64
    )
    splits = np.array([_code(row["split"], SPLITS, "split", path) for row in rows], np.int8)
    statuses = np.array(
        [_person(_code(row["status"], STATUSES, "status", path), row["reason"]) for row in rows], np.int8
    )
    texts = {int(words[i]): rows[i]["reason"] for i in np.flatnonzero(statuses != OK).tolist() if rows[i]["reason"]}
    return index_rows(words, contents, splits, statuses), texts


def _code(value: object, names: Sequence[str], column: str, path: Path) -> int:
    if value not in names:
        raise DataError(
            f"The manifest's column {column!r} holds {value!r}.",
            where=path,
            allowed=", ".join(names),
            do="correct it",
        )
    return names.index(str(value))


def _person(status: int, reason: str | None) -> int:
    """A person's decision, or :data:`OK`."""
    if status == KEEP or (status == LEFT_OUT and not (reason or "").startswith(OURS)):
        return status
    return OK


def _by_person(status: npt.NDArray[np.int8], reasons: Mapping[int, str]) -> npt.NDArray[np.int8]:
    decided = np.full(len(status), OK, np.int8)
    for row in np.flatnonzero((status == LEFT_OUT) | (status == KEEP)).tolist():
        decided[row] = _person(int(status[row]), reasons.get(row))
    return decided


def _hexadecimal(arrow: Any, values: npt.NDArray[Any], unread: npt.NDArray[np.bool_]) -> Any:
    digits = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 32).tobytes().hex()
    return arrow.array(
        [None if unread[i] else digits[64 * i : 64 * i + 64] for i in range(len(values))], arrow.string()
    )


def _text(value: str) -> str:
    """Parquet holds UTF-8 only; a file name that is none keeps its bytes in visible form."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
