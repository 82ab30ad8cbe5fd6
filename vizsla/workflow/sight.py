"""A look at pictures for measuring: their features, how they look, which cannot be read. Each is opened once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.data.scan import scan
from vizsla.errors import ImageError
from vizsla.evaluation.looks import LOOK, SHORT_SIDE, Looks, LookStore, look
from vizsla.images import Decoded, Limits, decode
from vizsla.settings import settings
from vizsla.training.features import ShardWriter, extract
from vizsla.workflow.observer import Observer
from vizsla.workflow.saved_model import OpenModel

_KEPT_AT_ONCE = 512


@dataclass(frozen=True)
class Sight:
    """The pictures that could be read, as a model sees them, in the order in which they were named.

    ``rows`` says which of those that were named each is, int64 (n,); ``files`` where they lie. ``features`` is float32
    (n, d); ``records`` are those of the scan and ``looks`` of :data:`vizsla.evaluation.looks.LOOK` (zero where not
    asked for). ``damaged`` are the errors of those that could not be read, by row. ``computed`` pictures went through
    the backbone now.
    """

    files: list[Path]
    rows: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    records: npt.NDArray[np.void]
    looks: Looks
    damaged: dict[int, ImageError]
    computed: int

    @property
    def sha256(self) -> npt.NDArray[np.uint8]:
        """The contents, uint8 (n, 32)."""
        contents: npt.NDArray[np.uint8] = self.records["sha256"]
        return contents

    def take(self, at: npt.NDArray[np.int64]) -> Sight:
        """Some of the pictures, by their places here."""
        files = [self.files[i] for i in at.tolist()]
        parts = (self.rows[at], self.features[at], self.records[at], self.looks[at])
        return Sight(files, *parts, self.damaged, self.computed)


def see(root: Path, paths: Sequence[str], model: OpenModel, observer: Observer, *, with_looks: bool = True) -> Sight:
    """Look at pictures, ``paths`` relative to ``root``; what was seen before is not opened again.

    Raises
    ------
    StorageError
        When the cache cannot be written.
    """
    place, limits = settings(), Limits.from_settings()
    companion = _Companion(model, LookStore(place.cache) if with_looks else None)
    seen = scan(
        root,
        paths,
        cache=place.cache,
        threads=place.threads,
        limits=limits,
        with_quality=False,
        companion=companion,
        on_progress=observer.progress,
    )
    companion.flush()
    rows = np.flatnonzero(seen.readable)
    found = extract(
        [root / paths[row] for row in rows.tolist()],
        model.space,
        model.saved.preprocessing,
        model.engine,
        threads=place.threads,
        keys=seen.records["sha256"][rows],
    )
    usable = np.flatnonzero(found.usable)
    damaged = seen.errors | {int(rows[at]): error for at, error in found.damaged.items()}
    rows = rows[usable]
    records = seen.records[rows]
    looks = LookStore(place.cache).find(records["sha256"])[0] if with_looks else np.zeros(len(rows), LOOK)
    files = [root / paths[row] for row in rows.tolist()]
    computed = companion.computed + found.computed
    return Sight(files, rows, found.table.take(usable), records, looks, damaged, computed)


class _Companion:
    """Computes what is missing of the pictures that the scan opens: features and looks."""

    def __init__(self, model: OpenModel, looks: LookStore | None) -> None:
        self._model, self._store = model, looks
        self._index, self._writer = model.space.index(), ShardWriter(model.space)
        self._lock = threading.Lock()
        self._pending: list[Looks] = []
        self.computed = 0

    @property
    def short_side(self) -> int | None:
        return self._model.saved.preprocessing.short_side

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        missing = ~self._index.contains(sha256)
        return missing if self._store is None else missing | ~self._store.find(sha256)[1]

    def take(self, key: bytes, decoded: Decoded) -> None:
        if key not in self._index:
            pixels = self._model.saved.preprocessing.apply(decoded.image, decoded.full_size)
            self._writer.add(key, self._model.engine.features(pixels[None])[0])
            with self._lock:
                self.computed += 1
        if self._store is None:
            return
        if (self.short_side or 0) < SHORT_SIDE:
            decoded = decode(decoded.data, Limits.from_settings(), short_side=SHORT_SIDE)
        record = look(decoded)
        record["sha256"] = np.frombuffer(key, np.uint8)
        with self._lock:
            self._pending.append(record)
            pending = self._pending if len(self._pending) >= _KEPT_AT_ONCE else []
            if pending:
                self._pending = []
        self._store.add(pending)

    def flush(self) -> None:
        self._writer.flush()
        if self._store is not None:
            self._store.add(self._pending)
            self._pending = []
