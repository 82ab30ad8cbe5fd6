"""The pictures of an evaluation, and what the model said of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Predictions:
    """One entry a picture: ``paths`` as the data name them, ``files`` where they lie, ``labels`` int32 (n,) and
    ``probabilities`` float32 (n, classes).

    ``columns`` hold more about each picture, by name: what a bias analysis may take as facets.
    """

    paths: Sequence[str]
    files: Sequence[Path]
    labels: npt.NDArray[np.int32]
    probabilities: npt.NDArray[np.float32]
    classes: tuple[str, ...]
    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most likely class of each, int64 (n,)."""
        predicted: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return predicted

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which the model is right about, bool (n,)."""
        right: npt.NDArray[np.bool_] = self.predicted == self.labels
        return right

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The probability of the most likely class, float32 (n,)."""
        confidence: npt.NDArray[np.float32] = self.probabilities.max(axis=1)
        return confidence

    def surest_mistakes(self, most: int) -> npt.NDArray[np.int64]:
        """Mistakes, those first that the model was surest of."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]

    def confused(self, truth: int, predicted: int, most: int) -> npt.NDArray[np.int64]:
        """Pictures of one class that were taken for another, the surest first."""
        rows = np.flatnonzero((self.labels == truth) & (self.predicted == predicted))
        return rows[np.argsort(-self.confidence[rows], kind="stable")][:most]
