"""One parallel pass over the bytes of every picture; what has been seen before is not looked at again.

Threads and not processes: Pillow decodes, scales and hashes without holding Python's lock, and two threads are as
fast as two processes here (benchmarks/check.py prints both).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vizsla.data import quality
from vizsla.data.inspection import RECORD, SHORT_SIDE, Record, inspect
from vizsla.data.progress import Progress
from vizsla.data.remarks import listening
from vizsla.data.scan_store import FileIndex, Records, ScanStore
from vizsla.errors import ImageError
from vizsla.images import DecodedImage, Limits, decode, read_file

_CHUNK = 512


class Companion(Protocol):
    """Who wants the pictures as well, now that they are open. Called from any thread."""

    @property
    def short_side(self) -> int | None:
        """Pixels of the shorter side that a picture must keep; None where none is wanted now."""
        ...

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which pictures, by SHA-256 uint8 (n, 32), are wanted, bool (n,)."""
        ...

    def take(self, key: bytes, decoded: DecodedImage) -> None:
        """One that is wanted, by its SHA-256, decoded as :attr:`short_side` asks."""
        ...


@dataclass(frozen=True)
class Seen:
    """What one look at a picture told: its record (shape ()), and the raw numbers for its scores, where they were asked
    for. ``is_new``: nobody has kept it yet."""

    record: Record
    statistics: dict[str, Any] | None = None
    is_new: bool = True


Outcome = Seen | ImageError


class Elsewhere(Protocol):
    """Looks at pictures on other machines, which see the same files, and keeps what the companion is for."""

    def __call__(
        self, root: Path, paths: Sequence[str], rows: npt.NDArray[np.int64], limits: Limits, store: ScanStore
    ) -> Iterator[tuple[int, Outcome]]:
        """The outcome of each of ``rows``, in any order; what ``store`` knows by its content is not decoded."""
        ...


@dataclass(frozen=True)
class Scan:
    """What the pass found: ``records`` of :data:`~vizsla.data.inspection.RECORD`, shape (n,), by row of the source.

    Rows in ``errors`` could not be read; their records are zero. ``inspected`` pictures were decoded now, the
    others were known. ``unreached`` are the rows that the deadline cut off: nothing is known of them.
    """

    records: Records
    errors: dict[int, ImageError]
    inspected: int
    seconds: float
    unreached: npt.NDArray[np.int64]

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """Which pictures can be read, or may be readable, bool (n,)."""
        mask = np.ones(len(self.records), bool)
        mask[list(self.errors)] = False
        return mask

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which pictures have a record, bool (n,)."""
        mask = self.readable
        mask[self.unreached] = False
        return mask


def scan(
    root: Path,
    paths: Sequence[str],
    *,
    cache: Path,
    threads: int,
    limits: Limits,
    with_quality: bool = True,
    deadline: float | None = None,
    companion: Companion | None = None,
    elsewhere: Elsewhere | None = None,
    on_progress: Progress = lambda done, total: None,
) -> Scan:
    """Look at every picture once.

    A file whose size and time of change are those of an earlier scan is not read; a content that was seen before,
    under whatever name, is not decoded. Pictures that cannot be read are tried anew each time. A kill loses at
    most the last few hundred pictures. ``with_quality`` also scores each (dark, blurry, ...), which takes several
    times as long as all the rest, and needs cleanvision; else scores that are known stay. After ``deadline``
    (``time.monotonic()``) no further few hundred are begun. A ``companion`` is given the pictures that it wants: they
    are decoded once for both. What is ``elsewhere`` does that in place of this process's threads; it scores nothing.

    Raises
    ------
    StorageError
        When the cache cannot be written.
    """
    began, began_ns = time.monotonic(), time.time_ns()
    store, index = ScanStore(cache), FileIndex(cache, root)
    stats = _stats(root, paths)
    records, errors = np.zeros(len(paths), RECORD), {}
    unchanged, sha256 = index.unchanged(paths, stats)
    with_quality = with_quality and quality.available()
    at = np.full(len(paths), -1, np.int64)
    at[unchanged] = store.find(sha256[unchanged])
    stored = np.flatnonzero(at >= 0)
    records[stored] = store.take(at[stored])
    if with_quality:
        stored = stored[~np.isnan(records["scores"][stored, 0])]
    if companion is not None:
        stored = stored[~companion.missing(records["sha256"][stored])]
    pending = np.setdiff1d(np.arange(len(paths)), stored, assume_unique=True)
    inspected, reached = 0, np.zeros(len(paths), bool)
    on_progress(len(stored), len(paths))
    outcomes: Iterator[tuple[int, Outcome]]
    if elsewhere is not None and not with_quality and len(pending):
        outcomes = itertools.takewhile(
            lambda _: deadline is None or time.monotonic() <= deadline, elsewhere(root, paths, pending, limits, store)
        )
    else:
        look = Look(root, limits, store, with_quality, companion)
        outcomes = _here(look, paths, pending, threads, deadline)
    fresh: list[tuple[int, Seen]] = []
    for count, (row, outcome) in enumerate(outcomes, 1):
        reached[row] = True
        if isinstance(outcome, ImageError):
            errors[row] = outcome
        elif outcome.is_new:
            fresh.append((row, outcome))
        else:
            records[row] = outcome.record
        if not count % 16:
            on_progress(len(stored) + count, len(paths))
        if count % _CHUNK == 0:
            inspected += len(fresh)
            _keep(records, fresh, store)
            fresh = []
    inspected += len(fresh)
    _keep(records, fresh, store)
    on_progress(len(paths), len(paths))
    if len(pending):
        index.replace(paths, stats, records["sha256"], records["bytes"] > 0, began_ns)
    unreached = pending[~reached[pending]]
    return Scan(records, dict(sorted(errors.items())), inspected, time.monotonic() - began, unreached)


def _here(
    look: Look, paths: Sequence[str], rows: npt.NDArray[np.int64], threads: int, deadline: float | None
) -> Iterator[tuple[int, Outcome]]:
    """The outcomes in order; after the deadline no further few hundred are begun."""
    with listening(), ThreadPoolExecutor(threads, thread_name_prefix="scan") as pool:
        for start in range(0, len(rows), _CHUNK):
            if deadline is not None and time.monotonic() > deadline:
                return
            chunk = rows[start : start + _CHUNK].tolist()
            yield from zip(chunk, pool.map(lambda row: look(paths[row]), chunk), strict=True)


@dataclass(frozen=True)
class Look:
    """Looks at one picture, on any thread."""

    root: Path
    limits: Limits
    store: ScanStore
    with_quality: bool
    companion: Companion | None

    def __call__(self, path: str) -> Outcome:
        try:
            data = read_file(self.root / path, self.limits)
            digest = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)[None]
            at = int(self.store.find(digest)[0])
            stored = at >= 0 and not (self.with_quality and np.isnan(self.store.take(np.array([at]))["scores"][0, 0]))
            side = self._wanted_side(digest)
            if stored:
                if side is not None:
                    self._hand_on(digest, decode(data, self.limits, short_side=side))
                return Seen(self.store.take(np.array([at]))[0], is_new=False)
            seen = inspect(data, self.limits, with_quality=self.with_quality, short_side=side or 0)
            if side is not None:
                same = side >= SHORT_SIDE and not self.with_quality
                self._hand_on(digest, seen.decoded if same else decode(data, self.limits, short_side=side))
            return Seen(seen.record, seen.statistics)
        except ImageError as error:
            return error

    def _hand_on(self, digest: npt.NDArray[np.uint8], decoded: DecodedImage) -> None:
        if self.companion is not None:
            self.companion.take(digest.tobytes(), decoded)

    def _wanted_side(self, digest: npt.NDArray[np.uint8]) -> int | None:
        """The shorter side that the companion wants of a picture; None where it wants nothing of it."""
        if self.companion is None or not self.companion.missing(digest)[0]:
            return None
        return self.companion.short_side


def _keep(records: Records, fresh: list[tuple[int, Seen]], store: ScanStore) -> None:
    """Put what was just inspected into its rows and into the store."""
    if not fresh:
        return
    new = np.stack([seen.record for _, seen in fresh])
    raw = [seen.statistics for _, seen in fresh if seen.statistics is not None]
    if raw:
        new["scores"] = quality.scores(raw)
    records[[row for row, _ in fresh]] = new
    store.add(new)


def _stats(root: Path, paths: Sequence[str]) -> npt.NDArray[np.int64]:
    """Bytes and time of change (ns) of each file, int64 (n, 2); zeros where there is none."""
    base, stats = str(root), np.zeros((len(paths), 2), np.int64)
    for row, path in enumerate(paths):
        try:
            stat = os.stat(os.path.join(base, path))
        except OSError:
            continue
        stats[row] = stat.st_size, stat.st_mtime_ns
    return stats
