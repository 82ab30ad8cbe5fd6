"""Asking a model about many versions of one picture, on all cores."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
        return np.where(self.masks[at][self.pieces][..., None], self.pixels, self.absent)


def answers(engine: Engine, head: Head, pictures: Pictures | Sequence[Pixels], threads: int) -> npt.NDArray[np.float64]:
    """The probabilities of each picture, (n, classes): one picture a call, as the endpoint asks."""
    with ThreadPoolExecutor(threads) as pool:
        features = list(pool.map(lambda at: engine.features(pictures[at][None])[0], range(len(pictures))))
    return softmax(head.logits(np.stack(features))).astype(np.float64)
