"""What scans have found, kept by content; and which content a file had, so that it need not be read again."""

from __future__ import annotations

import hashlib
import io
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla import shared_cache
from vizsla.data.inspection import RECORD
from vizsla.files import replacing

_VERSION = 2
_FILE = np.dtype([("path", np.uint64), ("bytes", np.int64), ("mtime", np.int64), ("sha256", np.uint8, 32)])
_MOST_SHARDS = 16
_RACY_NS = 2_000_000_000

Records = npt.NDArray[np.void]


class ScanStore:
    """Records by SHA-256, in files that are only ever added or merged; safe to delete at any time."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "scans" / f"v{_VERSION}"
        self._records = np.zeros(0, RECORD)
        self._order = np.zeros(0, np.int64)
        self._words = np.zeros(0, np.uint64)
        self._load()

    def __len__(self) -> int:
        return len(self._records)

    def find(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Where the contents (n, 32) uint8 are stored, int64 (n,); -1 for unknown ones."""
        if not len(self._records) or not len(sha256):
            return np.full(len(sha256), -1, np.int64)
        words = np.ascontiguousarray(sha256).view(np.uint64)[:, 0]
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        rows = self._order[at]
        same = (self._records["sha256"][rows] == sha256).all(axis=1)
        return np.where(same, rows, -1)

    def take(self, at: npt.NDArray[np.int64]) -> Records:
        """Records (a copy) by what :meth:`find` gave."""
        return self._records[at]

    def add(self, records: Records) -> None:
        """Keep records for later runs.

        Raises
        ------
        StorageError
            When the cache cannot be written.
        """
        if len(records):
            self._write(records)

    def _write(self, records: Records) -> None:
        file = io.BytesIO()
        np.save(file, records)
        shared_cache.write(self.folder / f"{uuid.uuid4().hex}.npy", file.getvalue())

    def _load(self) -> None:
        shared_cache.fetch(self.folder)
        paths = sorted(self.folder.glob("*.npy"))
        parts = [part for path in paths if (part := _read(path, RECORD)) is not None]
        if not parts:
            return
        records = np.concatenate(parts)
        words = np.ascontiguousarray(records["sha256"]).view(np.uint64)[:, 0]
        # Of one content the record with scores comes last and is the one that is found.
        order = np.lexsort((~np.isnan(records["scores"][:, 0]), words))
        last = np.append(np.diff(words[order]) != 0, True)
        self._records, self._order, self._words = records, order[last], words[order[last]]
        if len(paths) > _MOST_SHARDS:
            self._write(records[self._order])
            for path in paths:
                shared_cache.remove(path)


class FileIndex:
    """Size, time of change and content of the files of one source, as they were at the last scan."""

    def __init__(self, cache: Path, root: Path) -> None:
        name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
        self.path = cache / "scans" / "files" / f"{name}.npy"
        files = _read(self.path, _FILE)
        self._files = np.zeros(0, _FILE) if files is None else files

    def unchanged(
        self, paths: Sequence[str], stats: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
        """Which files are as they were, bool (n,), and their contents, uint8 (n, 32).

        ``stats`` is int64 (n, 2): bytes and time of change in ns.
        """
        if not len(self._files):
            return np.zeros(len(paths), bool), np.zeros((len(paths), 32), np.uint8)
        words = digests(paths)
        at = np.minimum(np.searchsorted(self._files["path"], words), len(self._files) - 1)
        files = self._files[at]
        same = (files["path"] == words) & (files["bytes"] == stats[:, 0]) & (files["mtime"] == stats[:, 1])
        return same, files["sha256"]

    def replace(
        self,
        paths: Sequence[str],
        stats: npt.NDArray[np.int64],
        sha256: npt.NDArray[np.uint8],
        readable: npt.NDArray[np.bool_],
        began_ns: int,
    ) -> None:
        """Remember the files of this scan. What changed just before it may change again unseen: not remembered."""
        files = np.zeros(len(paths), _FILE)
        files["path"], files["bytes"], files["mtime"] = digests(paths), stats[:, 0], stats[:, 1]
        files["sha256"] = sha256
        files = files[readable & (stats[:, 1] < began_ns - _RACY_NS)]
        files = files[np.argsort(files["path"], kind="stable")]
        if not np.array_equal(files, self._files):
            _save(self.path, files)


def digests(paths: Sequence[str]) -> npt.NDArray[np.uint64]:
    """64 bits of each path, uint64 (n,); a path that is no UTF-8 counts as what the manifest writes for it."""
    words = np.empty(len(paths), np.uint64)
    for row in range(len(paths)):
        digest = hashlib.blake2b(paths[row].encode("utf-8", "backslashreplace"), digest_size=8).digest()
        words[row] = int.from_bytes(digest, "little")
    return words


def _save(path: Path, array: Records) -> None:
    with replacing(path, make_folder=True) as file:
        np.save(file, array)


def _read(path: Path, dtype: np.dtype[np.void]) -> Records | None:
    """A file's array; None when it is missing, damaged or of another version."""
    try:
        array: Records = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.dtype == dtype and array.ndim == 1 else None
