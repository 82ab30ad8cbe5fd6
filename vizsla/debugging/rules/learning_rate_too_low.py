"""Steps so small that training gets nowhere in its time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn

_LEAST = 40


@dataclass
class LearningRateTooLow(BuiltIn):
    """Looks when training has ended. Fires where a step changed the weights by less than ``ratio`` of their size
    (median over layers and steps) and the loss has fallen by less than ``fall`` of what it was."""

    ratio: float = 2e-5
    fall: float = 0.15

    name: ClassVar[str] = "learning_rate_too_low"
    fix: ClassVar[str] = "multiply the learning rate by ten until the loss falls visibly within the first epoch"
    why: ClassVar[str] = "the model stays near where it began"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        values = history.losses.values
        ratio = history.median_ratio(1000)
        if len(values) < _LEAST or not np.isfinite(values).all() or ratio is None or ratio == 0:
            return
        first, last = float(values[: len(values) // 5].mean()), float(values[-len(values) // 5 :].mean())
        low = 0.25 * (history.chance or first)
        if ratio < self.ratio and last > (1 - self.fall) * first and last > low:
            yield self.found(
                history,
                f"The loss went from {first:.3g} to {last:.3g} in {len(values):,} steps, each of which changed the "
                f"weights by {ratio:.1e} of their size.",
                value=ratio,
                threshold=self.ratio,
                n=len(values),
            )


RULE = LearningRateTooLow
