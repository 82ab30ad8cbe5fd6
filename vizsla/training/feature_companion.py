"""Features of the pictures that a scan opens, by a backbone that is there."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

from vizsla.images import DecodedImage, Preprocessing
from vizsla.models.engine import Engine
from vizsla.training.cache import FeatureSpace, Index
from vizsla.training.features import ShardWriter


class FeatureCompanion:
    """Computes what a space lacks of the pictures that a scan looks at (:class:`vizsla.data.scan.Companion`).

    ``computed`` pictures went through the backbone. ``index`` is what the space holds, where that is known.
    """

    def __init__(
        self, space: FeatureSpace, engine: Engine, preprocessing: Preprocessing, index: Index | None = None
    ) -> None:
        self._engine, self._preprocessing = engine, preprocessing
        self._index, self._writer = space.index() if index is None else index, ShardWriter(space)
        self._lock = threading.Lock()
        self.computed = 0

    @property
    def short_side(self) -> int | None:
        """Pixels of the shorter side that pictures must keep."""
        return self._preprocessing.short_side

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which pictures, by SHA-256 uint8 (n, 32), have no features yet, bool (n,)."""
        return ~self._index.contains(sha256)

    def take(self, key: bytes, decoded: DecodedImage) -> None:
        """Compute the features of a picture, unless they are stored."""
        if key in self._index:
            return
        pixels = self._preprocessing.apply(decoded.image, decoded.full_size)
        self._writer.add(key, self._engine.features(pixels[None])[0])
        with self._lock:
            self.computed += 1

    def flush(self) -> None:
        """Store what waits."""
        self._writer.flush()
