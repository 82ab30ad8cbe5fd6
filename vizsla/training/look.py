"""Features while the pictures are open for another reason: each is read and decoded once."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.images import DecodedImage, Preprocessing
from vizsla.models.engine import Engine, OnnxEngine
from vizsla.models.export_process import BackboneExport
from vizsla.training.cache import FeatureSpace, Key
from vizsla.training.features import ShardWriter

_WAITING_BYTES = 256 << 20
"""Model input that may wait for a backbone that is still being exported."""

Pixels = npt.NDArray[np.uint8]


class FeatureLook:
    """Computes the features of pictures that the check looks at anyway (:class:`vizsla.data.scan.Companion`).

    While the backbone is being exported, pictures wait as model input, as many as fit into 256 MB; a thread that
    brings more waits itself. How the backbone wants its pictures must be known for that: where it is not, pictures are
    let pass until the backbone is there, and read again later.

    Parameters
    ----------
    preprocessing:
        How the backbone will want its pictures, where that is known before it is there. If it turns out otherwise, what
        has waited is thrown away.
    """

    def __init__(self, export: BackboneExport, cache: Path, preprocessing: Preprocessing | None) -> None:
        self._export, self._cache, self._preprocessing = export, cache, preprocessing
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Key, Pixels]] = deque()
        self._ready: _Ready | None = None
        self._began = time.monotonic()
        self.computed = 0
        self.seconds = 0.0

    @property
    def short_side(self) -> int | None:
        """Pixels of the shorter side that pictures must keep; None where nothing is wanted yet."""
        ready = self._engine()
        preprocessing = self._preprocessing if ready is None else ready.preprocessing
        return None if preprocessing is None or (self._export.ended and ready is None) else preprocessing.short_side

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which pictures, by SHA-256 uint8 (n, 32), are wanted: those whose features are not stored, bool (n,)."""
        if self.short_side is None:
            return np.zeros(len(sha256), bool)
        ready = self._engine()
        return np.ones(len(sha256), bool) if ready is None else ~ready.index.contains(sha256)

    def take(self, key: Key, decoded: DecodedImage) -> None:
        """One picture, decoded so that its shorter side has at least :attr:`short_side` pixels."""
        ready = self._engine()
        preprocessing = self._preprocessing if ready is None else ready.preprocessing
        if preprocessing is None:
            return
        pixels = preprocessing.apply(decoded.image, decoded.full_size)
        if ready is None and (len(self._waiting) + 1) * pixels.nbytes > _WAITING_BYTES:
            self._export.wait()
        with self._lock:
            if self._ready is None and not self._export.ended:
                self._waiting.append((key, pixels))
                return
        ready = self._engine()
        if ready is None or ready.preprocessing != preprocessing:
            return
        self._run(ready, key, pixels)
        self._run_one_that_waits(ready)

    def finish(self, threads: int) -> None:
        """Run what still waits.

        Raises
        ------
        VizslaError
            When the backbone could not be exported, or the cache cannot be written.
        """
        self._export.result()
        ready = self._engine()
        if ready is None:
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="features") as pool:
            list(pool.map(lambda _: self._run_one_that_waits(ready), range(len(self._waiting))))
        ready.writer.flush()
        self.seconds = time.monotonic() - self._began

    def _engine(self) -> _Ready | None:
        """What runs pictures, once the backbone is there."""
        if self._ready is None and self._export.backbone is not None:
            with self._lock:
                if self._ready is None:
                    backbone = self._export.backbone
                    engine = OnnxEngine(backbone.path)
                    space = FeatureSpace(self._cache, backbone, engine)
                    if self._preprocessing not in (None, backbone.preprocessing):
                        self._waiting.clear()
                    self._ready = _Ready(engine, backbone.preprocessing, space)
        return self._ready

    def _run(self, ready: _Ready, key: Key, pixels: Pixels) -> None:
        ready.writer.add(key, ready.engine.features(pixels[None])[0])
        with self._lock:
            self.computed += 1

    def _run_one_that_waits(self, ready: _Ready) -> None:
        try:
            key, pixels = self._waiting.popleft()
        except IndexError:
            return
        self._run(ready, key, pixels)


class _Ready:
    """The backbone, how it wants its pictures, and where features go."""

    def __init__(self, engine: Engine, preprocessing: Preprocessing, space: FeatureSpace) -> None:
        self.engine, self.preprocessing = engine, preprocessing
        self.index, self.writer = space.index(), ShardWriter(space)
