"""The manifest: one row a picture, with what was decided about it, in Parquet.

It is written and read in blocks, so that memory does not grow with its rows by more than a few bytes each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Dataset
from vizsla.data.scan_store import Records, digests
from vizsla.errors import DataError
from vizsla.files import replacing
from vizsla.optional import require

STATUSES = ("ok", "damaged", "repaired", "left-out", "keep")
"""What became of a picture. ``left-out`` and ``keep`` may be written by a person: the gate then obeys."""
OURS = "gate: "
"""How reasons begin that the gate has written; a ``left-out`` with any other reason is a person's decision."""

OK, DAMAGED, REPAIRED, LEFT_OUT, KEEP = range(len(STATUSES))

_BLOCK = 1 << 14
_INDEX = np.dtype([("path", np.uint64), ("split", np.int8), ("status", np.int8)])


@dataclass(frozen=True)
class Decisions:
    """What an earlier manifest says, by path: the split it froze, and what a person decided.

    ``rows`` is sorted by the path's digest; ``status`` there is :data:`LEFT_OUT` or :data:`KEEP` for a person's
    decision and :data:`OK` for everything else.
    """

    rows: npt.NDArray[np.void]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, paths: Sequence[str]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int8]]:
        """Split codes (-1 for an unknown path) and statuses of some paths, int8 (n,) each."""
        splits, statuses = np.full(len(paths), -1, np.int8), np.full(len(paths), OK, np.int8)
        if len(self.rows) and len(paths):
            words = digests(paths)
            found = self.rows[np.minimum(np.searchsorted(self.rows["path"], words), len(self.rows) - 1)]
            known = found["path"] == words
            splits[known], statuses[known] = found["split"][known], found["status"][known]
        return splits, statuses


def write_manifest(
    path: Path,
    dataset: Dataset,
    records: Records,
    status: npt.NDArray[np.int8],
    reasons: Mapping[int, str],
    groups: Sequence[str] | None = None,
) -> None:
    """Replace the manifest by one row a picture.

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

    def named(codes: Any, values: Sequence[str]) -> Any:
        return arrow.DictionaryArray.from_arrays(arrow.array(codes, arrow.int32()), arrow.array(values, text))

    with replacing(path) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for start in range(0, len(dataset), _BLOCK):
            stop = min(start + _BLOCK, len(dataset))
            part = records[start:stop]
            unread = part["bytes"] == 0
            columns = [
                arrow.array([_text(dataset.paths[row]) for row in range(start, stop)], text),
                named(dataset.labels[start:stop], [_text(label) for label in dataset.classes]),
                named(dataset.splits[start:stop], SPLITS),
                arrow.array([_group(groups[row]) for row in range(start, stop)], text)
                if groups is not None
                else arrow.nulls(stop - start, text),
                _hexadecimal(arrow, part["sha256"], unread),
                _hexadecimal(arrow, part["phash"], unread),
                *(arrow.array(part[name], mask=unread) for name in ("bytes", "width", "height")),
                named(status[start:stop], STATUSES),
                arrow.array([reasons.get(row) for row in range(start, stop)], text),
            ]
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
    _save_index(path, _indexed(dataset.paths, dataset.splits, _by_person(status, reasons)))


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
    except FileNotFoundError:
        return Decisions(np.zeros(0, _INDEX))
    index = _load_index(path, stat.st_size, stat.st_mtime_ns)
    if index is None:
        index = _read(path)
        with contextlib.suppress(OSError):
            _save_index(path, index)
    return Decisions(index)


def _read(path: Path) -> npt.NDArray[np.void]:
    parquet = require("pyarrow.parquet", extra="train", feature="The manifest")
    parts = []
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_BLOCK, columns=["path", "split", "status", "reason"]):
                paths, splits, statuses, reasons = (batch.column(i).to_pylist() for i in range(4))
                parts.append(
                    _indexed(
                        paths,
                        np.array([_code(split, SPLITS, "split", path) for split in splits], np.int8),
                        np.array(
                            [
                                _person(_code(status, STATUSES, "status", path), reason)
                                for status, reason in zip(statuses, reasons, strict=True)
                            ],
                            np.int8,
                        ),
                    )
                )
    except DataError:
        raise
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are ValueErrors and KeyErrors
        raise DataError(
            f"The manifest cannot be read: {str(error).splitlines()[0]}.",
            where=path,
            allowed="the Parquet file that `vizsla check` has written, with its columns path, split, status, reason",
            do="restore it, or remove it: the splits are then drawn anew",
        ) from error
    rows = np.concatenate(parts) if parts else np.zeros(0, _INDEX)
    return rows[np.argsort(rows["path"], kind="stable")]


def _code(value: object, known: Sequence[str], column: str, path: Path) -> int:
    if value not in known:
        raise DataError(
            f"The manifest's column {column!r} holds {value!r}.", where=path, allowed=", ".join(known), do="correct it"
        )
    return known.index(str(value))


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


def _indexed(
    paths: Sequence[str], splits: npt.NDArray[np.int8], statuses: npt.NDArray[np.int8]
) -> npt.NDArray[np.void]:
    rows = np.zeros(len(paths), _INDEX)
    rows["path"], rows["split"], rows["status"] = digests(paths), splits, statuses
    return rows[np.argsort(rows["path"], kind="stable")]


def _index_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.index")


def _save_index(path: Path, index: npt.NDArray[np.void]) -> None:
    stat = path.stat()
    with replacing(_index_path(path)) as file:
        np.save(file, np.array([stat.st_size, stat.st_mtime_ns], np.int64))
        np.save(file, index)


def _load_index(path: Path, size: int, mtime_ns: int) -> npt.NDArray[np.void] | None:
    try:
        with open(_index_path(path), "rb") as file:
            stamp, index = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    same = stamp.tolist() == [size, mtime_ns] and index.dtype == _INDEX
    return index if same else None


def _hexadecimal(arrow: Any, values: npt.NDArray[Any], unread: npt.NDArray[np.bool_]) -> Any:
    digits = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 32).tobytes().hex()
    return arrow.array(
        [None if unread[i] else digits[64 * i : 64 * i + 64] for i in range(len(values))], arrow.string()
    )


def _group(name: str) -> str | None:
    return None if name.startswith("\0") else _text(name)


def _text(value: str) -> str:
    """Parquet holds UTF-8 only; a file name that is none keeps its bytes in visible form."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")
