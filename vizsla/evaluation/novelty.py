"""Pictures that are unlike all that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.explanation.nearest import Neighbours

_NEIGHBOURS = 5
USUAL = 0.01
"""The share of new pictures of the usual kind that are as unlike."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Novelty:
    """``scores`` float32 (n,): 1 less the mean cosine to the five nearest training pictures; ``limit`` is what one in a
    hundred validation pictures exceeds, ``rows`` those that do, the most unlike first."""

    scores: Floats
    limit: float
    rows: npt.NDArray[np.int64]

    @property
    def share(self) -> float:
        """The share of pictures beyond the limit; of pictures like those of the training 0.01."""
        return len(self.rows) / len(self.scores)


def novelty(features: Floats, train: Floats, valid: Floats) -> Novelty:
    """Score pictures by their features (n, d) against those of the training and the validation pictures."""
    neighbours = Neighbours.of(train)
    scores, usual = unlikeness(neighbours, features), unlikeness(neighbours, valid)
    limit = float(np.quantile(usual, 1 - USUAL))
    rows = np.flatnonzero(scores > limit)
    return Novelty(scores, limit, rows[np.argsort(-scores[rows], kind="stable")])


def unlikeness(neighbours: Neighbours, features: Floats, chunk: int = 1024) -> Floats:
    """1 less the mean cosine to the nearest, float32 (n,)."""
    parts = [
        1 - neighbours.nearest(features[start : start + chunk], _NEIGHBOURS)[1].mean(axis=1)
        for start in range(0, len(features), chunk)
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
