"""Which pictures of the training look most like one to the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbours:
    """Features of the training pictures as directions from their mean, (n, d) float32 of length 1."""

    mean: Floats
    directions: Floats

    @classmethod
    def of(cls, features: Floats) -> Neighbours:
        """From features (n, d)."""
        mean = features.mean(axis=0)
        return cls(mean, _directions(features - mean))

    def nearest(self, features: Floats, k: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """The rows of the k nearest for each of some features (m, d), the nearest first, and the cosines of their
        angles, both (m, k); fewer where there are fewer."""
        cosines = _directions(features - self.mean) @ self.directions.T
        k = min(k, cosines.shape[1])
        rows = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(cosines, rows, axis=1)
        order = np.argsort(-near, axis=1, kind="stable")
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)


def _directions(x: Floats) -> Floats:
    directions: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return directions
