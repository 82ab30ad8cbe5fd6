"""Every picture through the frozen backbone once: read, hash, decode, run, keep.

The work is cut into one task a picture on as many threads as there are cores. Each task runs the engine on one
core with a batch of one: measured faster than one engine on all cores with any batch (docs/performance.md), no
queue between decoding and the engine, and the same numbers as a single request to the saved model gives.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vizsla.errors import ImageError, StorageError
from vizsla.images import Limits, Preprocessing, read_file
from vizsla.models.engine import Engine
from vizsla.models.heads import Head
from vizsla.training.cache import FeatureSpace, Index, Key
from vizsla.training.head_data import chunks
from vizsla.training.table import FeatureTable

_SHARD_PICTURES = 512
_SHARD_SECONDS = 10.0
_ROUNDS = 3

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all), from any thread."""


class Paths(Protocol):
    """The path of a picture by its row: a list, or a column that makes paths when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> Path: ...


@dataclass(frozen=True)
class Extraction:
    """What a pass over the pictures gave.

    ``table`` holds a feature row for every picture (rows of damaged or unreached pictures are zero and must not
    be used); ``usable`` is a bool mask (n,); ``keys`` (n, 32) uint8 the SHA-256 of each picture's bytes;
    ``damaged`` the pictures that could not be read, by row; ``unreached`` the rows that the deadline cut off.
    ``computed`` pictures went through the backbone in ``seconds``; the others came from the cache.
    """

    table: FeatureTable
    usable: npt.NDArray[np.bool_]
    keys: npt.NDArray[np.uint8]
    damaged: dict[int, ImageError]
    unreached: npt.NDArray[np.int64]
    computed: int
    seconds: float

    @property
    def images_per_second(self) -> float | None:
        """Pictures through the backbone in a second; None when all came from the cache."""
        return self.computed / self.seconds if self.computed and self.seconds else None


def extract(
    paths: Paths,
    space: FeatureSpace,
    preprocessing: Preprocessing,
    engine: Engine,
    *,
    threads: int,
    deadline: float | None = None,
    order: npt.NDArray[np.int64] | None = None,
    keys: npt.NDArray[np.uint8] | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Extraction:
    """The features of all pictures, from the cache or computed and added to it.

    Parameters
    ----------
    paths:
        The pictures' files.
    deadline:
        Moment (``time.monotonic()``) after which no further picture is begun.
    order:
        Rows in the order to work through; table order by default. With a deadline it decides what is left out.
    keys:
        SHA-256 of the pictures whose bytes were just read, uint8 (n, 32), zeros where not: they are not read again
        where their features are stored.

    Raises
    ------
    StorageError
        When the cache cannot be written. What was computed before stays.
    """
    began = time.monotonic()
    run = _Run(paths, space, preprocessing, engine, deadline, on_progress)
    rows = np.arange(len(paths)) if order is None else order
    if keys is not None:
        stored = space.index().contains(keys) & keys.any(axis=1)
        run.keys[stored], run.hashed = keys[stored], stored.copy()
        rows = rows[~stored[rows]]
    for _ in range(_ROUNDS):
        run.work(rows, threads)
        table = FeatureTable.empty(space.ready(), len(paths), space.features)
        stored = np.zeros(len(paths), bool)
        known = np.flatnonzero(run.hashed & ~_mask(len(paths), list(run.damaged)))
        for found, features in space.index().read(run.keys, known):
            table.put(found, features)
            stored[found] = True
        rows = known[~stored[known]]
        if not len(rows):
            break
    else:
        raise StorageError(
            f"{len(rows):,} features vanish from the cache as soon as they are stored.",
            where=space.folder,
            do="raise VIZSLA_CACHE_GB; another process may be clearing the cache",
        )
    return Extraction(
        table=table,
        usable=stored,
        keys=run.keys,
        damaged=dict(sorted(run.damaged.items())),
        unreached=np.flatnonzero(~run.hashed & ~_mask(len(paths), list(run.damaged))),
        computed=run.computed,
        seconds=time.monotonic() - began,
    )


def probabilities(extraction: Extraction, head: Head, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Probabilities (len(rows), classes) of a head: the bits that the saved model answers."""
    parts = [head.probabilities(extraction.table.take(chunk)) for chunk in chunks(rows)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


class _Run:
    """The state that the worker threads of one extraction share."""

    def __init__(
        self,
        paths: Paths,
        space: FeatureSpace,
        preprocessing: Preprocessing,
        engine: Engine,
        deadline: float | None,
        on_progress: Progress,
    ) -> None:
        self.paths, self.space, self.preprocessing, self.engine = paths, space, preprocessing, engine
        self.deadline, self.on_progress = deadline, on_progress
        self.keys = np.zeros((len(paths), 32), np.uint8)
        self.hashed = np.zeros(len(paths), bool)
        self.damaged: dict[int, ImageError] = {}
        self.computed = 0
        self._limits = Limits.from_settings()
        self._lock = threading.Lock()
        self._writer = ShardWriter(space)
        self._stop = False
        self._index: Index = Index([])

    def work(self, rows: npt.NDArray[np.int64], threads: int) -> None:
        """Take every one of ``rows`` through, on ``threads`` threads."""
        self._index = self.space.index()
        turn = itertools.count()
        finished = 0

        def worker() -> None:
            nonlocal finished
            while not self._stop and (at := next(turn)) < len(rows):
                if self.deadline is not None and time.monotonic() > self.deadline:
                    return
                self._one(int(rows[at]))
                with self._lock:
                    finished += 1
                    done = finished
                self.on_progress(done, len(rows))

        with ThreadPoolExecutor(threads, thread_name_prefix="extract") as pool:
            try:
                workers = [pool.submit(worker) for _ in range(threads)]
                wait(workers, return_when=FIRST_EXCEPTION)
            finally:
                self._stop = True
        self._stop = False
        self._writer.flush()
        for future in workers:
            future.result()

    def _one(self, row: int) -> None:
        try:
            data = read_file(self.paths[row], self._limits)
            key = hashlib.sha256(data).digest()
            if key not in self._index:
                features = self.engine.features(self.preprocessing(data, self._limits)[None])[0]
                self._writer.add(key, features)
                with self._lock:
                    self.computed += 1
        except ImageError as error:
            with self._lock:
                self.damaged[row] = error
            return
        self.keys[row] = np.frombuffer(key, np.uint8)
        self.hashed[row] = True


class ShardWriter:
    """Gathers features of single pictures and stores them a few hundred at a time. Safe to call from any thread."""

    def __init__(self, space: FeatureSpace) -> None:
        self._space = space
        self._lock = threading.Lock()
        self._pending: list[tuple[Key, npt.NDArray[np.float32]]] = []
        self._flushed = time.monotonic()

    def add(self, key: Key, features: npt.NDArray[np.float32]) -> None:
        """Store the features (d,) of one picture, soon.

        Raises
        ------
        StorageError
            When the file system refuses.
        """
        with self._lock:
            self._pending.append((key, features))
            if len(self._pending) < _SHARD_PICTURES and time.monotonic() - self._flushed < _SHARD_SECONDS:
                return
        self.flush()

    def flush(self) -> None:
        """Store what waits."""
        with self._lock:
            pending, self._pending, self._flushed = self._pending, [], time.monotonic()
        if pending:
            self._space.add([key for key, _ in pending], np.stack([features for _, features in pending]))


def _mask(n: int, rows: list[int]) -> npt.NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask
