"""The variance of a tensor is beyond what was said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import TensorRule


@dataclass
class TensorVariance(TensorRule):
    """Fires where the variance of a tensor is over ``max_threshold`` or under ``min_threshold``."""

    max_threshold: float | None = None
    min_threshold: float | None = None

    name: ClassVar[str] = "tensor_variance"
    aws: ClassVar[str | None] = "TensorVariance"
    automatic: ClassVar[bool] = False
    fix: ClassVar[str] = "look at the initialisation and the learning rate of this layer"
    why: ClassVar[str] = "very high or low variances end in exploding or vanishing gradients"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        for row in self.chosen(history, ("weights",)):
            variance = row.std**2
            high = self.max_threshold is not None and variance > self.max_threshold
            if high or (self.min_threshold is not None and variance < self.min_threshold):
                yield self.found(
                    history,
                    f"The variance of {row.name} is {variance:.3g}.",
                    subject=row.name,
                    value=variance,
                    threshold=self.max_threshold if high else self.min_threshold,
                    n=row.n,
                )


RULE = TensorVariance
