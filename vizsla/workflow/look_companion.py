"""What is computed of the pictures that a scan opens: features, and how they look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.looks import SHORT_SIDE, Looks, LookStore, look
from vizsla.images import DecodedImage, Limits, Preprocessing, decode
from vizsla.models.engine import Engine
from vizsla.models.export import ExportedBackbone
from vizsla.training.cache import FeatureSpace, Index
from vizsla.training.feature_companion import FeatureCompanion

_KEPT_AT_ONCE = 512


@dataclass(frozen=True)
class CacheContents:
    """What is stored already: 16 bytes of memory a picture for its features, 100 for how it looks."""

    features: Index
    looks: LookStore | None


class LookCompanion(FeatureCompanion):
    """Computes what is missing of the pictures that a scan opens (:class:`vizsla.data.scan.Companion`)."""

    def __init__(
        self, space: FeatureSpace, engine: Engine, preprocessing: Preprocessing, contents: CacheContents
    ) -> None:
        super().__init__(space, engine, preprocessing, contents.features)
        self.contents, self._store = contents, contents.looks
        self._pending: list[Looks] = []

    @classmethod
    def of(cls, cache: Path, backbone: ExportedBackbone, engine: Engine, *, with_looks: bool) -> LookCompanion:
        """Of what lies in ``cache``; the looks only where they are wanted."""
        space = FeatureSpace(cache, backbone, engine)
        contents = CacheContents(space.index(), LookStore(cache) if with_looks else None)
        return cls(space, engine, backbone.preprocessing, contents)

    @classmethod
    def with_contents(
        cls, contents: CacheContents, cache: Path, backbone: ExportedBackbone, engine: Engine
    ) -> LookCompanion:
        """Of what another process has read of its cache; what is computed goes to ``cache``."""
        contents = CacheContents(contents.features, None if contents.looks is None else contents.looks.at(cache))
        return cls(FeatureSpace(cache, backbone, engine), engine, backbone.preprocessing, contents)

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which pictures lack features, or how they look."""
        missing = super().missing(sha256)
        return missing if self._store is None else missing | ~self._store.find(sha256)[1]

    def take(self, key: bytes, decoded: DecodedImage) -> None:
        """Compute what is missing of a picture."""
        super().take(key, decoded)
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
        """Store what waits."""
        super().flush()
        if self._store is not None:
            self._store.add(self._pending)
            self._pending = []
