"""Backbones in memory, each once, however many heads are served from it."""

from __future__ import annotations

import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vizsla.errors import ModelError
from vizsla.images import Preprocessing
from vizsla.models.artifact import SavedModel
from vizsla.models.engine import Features, OnnxEngine, Pixels
from vizsla.models.heads import Head
from vizsla.serving.answers import Labels
from vizsla.serving.memory import give_memory_back

_OVERHEAD_BYTES = 20_000
"""What a head costs beside its weights: names, table entries."""


class Backbone:
    """A backbone and its engines: one thread a call under load, all threads for a request that is alone, where that
    gives the same bits.

    Raises
    ------
    ModelError
        When it cannot be loaded, or is not made for pictures of ``size`` pixels and ``width`` features.
    """

    def __init__(self, name: str, sha256: str, content: Path | bytes, size: int, width: int, threads: int) -> None:
        self.name = name
        self.sha256 = sha256
        self.size = size
        self._narrow = OnnxEngine(content, threads=1)
        self._wide = self._narrow
        self.check(size, width)
        if threads > 1:
            noise = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
            wide = OnnxEngine(content, threads=threads)
            if np.array_equal(self._narrow.shrink(noise), wide.shrink(noise)):
                self._wide = wide
        self.nbytes = (len(content) if isinstance(content, bytes) else content.stat().st_size) * (
            2 if self._wide is not self._narrow else 1
        )

    def features(self, pixels: Pixels, *, alone: bool) -> Features:
        """(n, size, size, 3) uint8 to (n, d) float32, the same bits whichever way it is run."""
        engine = self._wide if alone else self._narrow
        return engine.features(pixels)

    def check(self, size: int, width: int) -> None:
        """See :meth:`vizsla.models.engine.OnnxEngine.check`."""
        self._narrow.check(size, width, self.name)

    def features_and_map(self, pixels: Pixels) -> tuple[Features, Features]:
        """The features and the last feature map."""
        return self._narrow.features_and_map(pixels)

    def shrink(self) -> None:
        """Give back the memory that a burst needed."""
        for engine in {id(engine): engine for engine in (self._narrow, self._wide)}.values():
            engine.shrink(np.zeros((1, self.size, self.size, 3), np.uint8))


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model that is loaded: its own head and classes on a backbone that others may share."""

    name: str
    url: str
    labels: Labels
    preprocessing: Preprocessing
    head: Head
    backbone: Backbone

    @property
    def nbytes(self) -> int:
        """Memory of its own, the backbone not counted."""
        return self.head.nbytes + _OVERHEAD_BYTES


class Backbones:
    """The backbones in use, by the SHA-256 of their ONNX file. Safe to call from several threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[Backbone, int]] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._names: weakref.WeakValueDictionary[tuple[str, ...], Labels] = weakref.WeakValueDictionary()

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._loaded

    def all(self) -> list[Backbone]:
        """The backbones in memory."""
        with self._lock:
            return [backbone for backbone, _ in self._loaded.values()]

    def serve(self, name: str, url: str, saved: SavedModel) -> ServedModel:
        """Put a saved model to use; its backbone is loaded if it is the first one with it.

        Raises
        ------
        ModelError
            When the backbone cannot be loaded, or the model does not fit it.
        KeyError
            When ``saved`` was read without its backbone, and that has been unloaded since.
        """
        card = saved.card
        key = card.backbone.sha256
        backbone = self._use(saved)
        try:
            backbone.check(card.preprocessing.size, card.backbone.features)
        except ModelError:
            self._give_up(key)
            raise
        classes = tuple(sys.intern(name) for name in card.classes)
        with self._lock:
            labels = self._names.setdefault(classes, Labels(classes))
        return ServedModel(name, url, labels, saved.preprocessing, saved.head, backbone)

    def _use(self, saved: SavedModel) -> Backbone:
        """One user more of a backbone, which is loaded for the first; who comes meanwhile waits for it.

        That is without the lock of the table: the event loop takes that, too.
        """
        card = saved.card
        key = card.backbone.sha256
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._loaded:
                    backbone, users = self._loaded[key]
                    self._loaded[key] = (backbone, users + 1)
                    return backbone
            if not saved.backbone:
                raise KeyError(key)
            size, width = card.preprocessing.size, card.backbone.features
            backbone = Backbone(card.backbone.name, key, saved.backbone, size, width, self._threads)
            give_memory_back()  # ONNX Runtime takes twice the weights while it prepares them
            with self._lock:
                self._loaded[key] = (backbone, 1)
        return backbone

    def release(self, model: ServedModel) -> None:
        """Give a model up; its backbone goes with the last one on it."""
        self._give_up(model.backbone.sha256)

    def _give_up(self, key: str) -> None:
        with self._lock:
            backbone, users = self._loaded[key]
            if users > 1:
                self._loaded[key] = (backbone, users - 1)
            else:
                del self._loaded[key]
