"""A matrix of features that lives on disk, so that memory does not grow with the number of pictures."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.files import storage

_RELEASE_BYTES = 8 << 20


class FeatureTable:
    """Float32 features (n, d) in a file without a name, read by rows.

    The file is gone when the process is. The pages that were touched are given back to the system every 8 MB;
    they stay in its file cache, so that reading them again costs no disk.
    """

    def __init__(self, rows: npt.NDArray[np.float32], file: mmap.mmap | None = None) -> None:
        self._rows, self._file, self._touched = rows, file, 0

    @classmethod
    def empty(cls, folder: Path, n: int, d: int) -> FeatureTable:
        """A table of zeros, stored beside the cache.

        Raises
        ------
        StorageError
            When the disk cannot hold it.
        """
        with storage(folder), tempfile.TemporaryFile(dir=folder) as file:
            size = max(1, n * d * 4)
            file.truncate(size)
            _reserve(file.fileno(), size)
            mapping = mmap.mmap(file.fileno(), size)
        return cls(np.frombuffer(mapping, np.float32, n * d).reshape(n, d), mapping)

    @classmethod
    def of(cls, features: npt.NDArray[np.float32]) -> FeatureTable:
        """A table in memory, for features (n, d) that are there already."""
        return cls(np.ascontiguousarray(features, np.float32))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def features(self) -> int:
        """Length of a row."""
        return int(self._rows.shape[1])

    def put(self, rows: npt.NDArray[np.int64], features: npt.NDArray[np.float32]) -> None:
        """Write rows."""
        self._rows[rows] = features
        self._touch(features.nbytes)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """A copy of some rows, (len(rows), d) float32."""
        taken = self._rows[rows]
        self._touch(taken.nbytes)
        return taken

    def _touch(self, size: int) -> None:
        self._touched += size
        if self._file is not None and self._touched > _RELEASE_BYTES:
            self._touched = 0
            self._file.madvise(mmap.MADV_DONTNEED)


def _reserve(descriptor: int, size: int) -> None:
    """Claim the blocks now: a full disk must be an error here and not a crash at the first touch."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
