"""Groups of pictures that look alike to the model: k-means (Lloyd 1982; Arthur and Vassilvitskii 2007)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DIMENSIONS, _ROUNDS, _STARTS = 64, 12, 3


def clusters(features: npt.NDArray[np.float32], count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """The cluster of each picture, int64 (n,), from features (n, d), which are projected to 64 random directions first
    (Johnson and Lindenstrauss 1984)."""
    rng = np.random.default_rng(seed)
    x = features - features.mean(axis=0)
    if x.shape[1] > _DIMENSIONS:
        x = x @ rng.normal(size=(x.shape[1], _DIMENSIONS)).astype(np.float32)
    runs = [_run(x, min(count, len(x)), rng) for _ in range(_STARTS)]
    return min(runs, key=lambda run: run[1])[0]


def _run(x: npt.NDArray[np.float32], count: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], float]:
    """The clusters from one start, and the sum of squares within them."""
    centres = x[rng.integers(len(x))][None]
    while len(centres) < count:
        near = _squares(x, centres).min(axis=1)
        shares = near / near.sum() if near.sum() > 0 else None
        centres = np.concatenate([centres, x[rng.choice(len(x), p=shares)][None]])
    for _ in range(_ROUNDS):
        labels = _squares(x, centres).argmin(axis=1)
        members = (labels[None] == np.arange(count)[:, None]).astype(np.float32)
        sizes = members.sum(axis=1, keepdims=True)
        centres = np.where(sizes > 0, members @ x / np.maximum(sizes, 1), centres)
    squares = _squares(x, centres)
    nearest: npt.NDArray[np.int64] = squares.argmin(axis=1)
    return nearest, float(squares.min(axis=1).sum())


def _squares(x: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    squares = (x * x).sum(axis=1)[:, None] - 2 * (x @ centres.T) + (centres * centres).sum(axis=1)
    distances: npt.NDArray[np.float64] = np.maximum(squares.astype(np.float64), 0)
    return distances
