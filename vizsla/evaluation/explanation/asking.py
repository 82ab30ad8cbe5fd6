"""Asking a model about many versions of one picture, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from vizsla.models.engine import Engine
from vizsla.models.heads import Head, softmax

Pixels = npt.NDArray[np.uint8]


class Pictures(Protocol):
    """Pictures as a model sees them, (size, size, 3) each, made when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> Pixels: ...


@dataclass(frozen=True)
class Composed:
    """Pictures of some pieces each: where ``masks`` (n, pieces) is True those of ``pixels``, else those of ``absent``;
    ``pieces`` int64 (size, size) says which piece a pixel belongs to."""

    pixels: Pixels
    absent: Pixels
    pieces: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, at: int, /) -> Pixels:
        """Bits are flipped where a piece is present: an eighth of the time that choosing pixels takes."""
        present = (self.masks[at] * np.uint8(255))[self._places]
        composed: Pixels = self.absent ^ (self._difference & present)
        return composed

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        return self.pieces[..., None].repeat(3, axis=2)

    @cached_property
    def _difference(self) -> Pixels:
        return self.pixels ^ self.absent


def answers(engine: Engine, head: Head, pictures: Pictures | Sequence[Pixels], threads: int) -> npt.NDArray[np.float64]:
    """The probabilities of each picture, (n, classes): one picture a call, as the endpoint asks."""
    with ThreadPoolExecutor(threads) as pool:
        features = list(pool.map(lambda at: engine.features(pictures[at][None])[0], range(len(pictures))))
    return softmax(head.logits(np.stack(features))).astype(np.float64)
