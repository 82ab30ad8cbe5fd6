"""Labels that seem to have nothing to do with the pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import Confidence, RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_STEPS = 40
_ABOVE = 1.35
_ALIVE = 1e-7


@dataclass
class ShuffledLabels(BuiltIn):
    """Looks when training has ended. Fires where all else is as it should be (finite losses, gradients, updates of at
    least ``ratio`` of the weights) and the validation pictures' accuracy is not above that of the most frequent class
    by more than a third and chance (two standard errors); without validation pictures, where the training loss stays
    within 10 % of guessing."""

    ratio: float = 1e-4

    name: ClassVar[str] = "shuffled_labels"
    severity: ClassVar[Severity] = "error"
    confidence: ClassVar[Confidence] = "medium"
    fix: ClassVar[str] = (
        "look at pictures with their labels: a table that was sorted apart, ids that begin at 0 and at 1"
    )
    why: ClassVar[str] = "a model that trains well and knows nothing was given labels that tell nothing"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        values, chance = history.losses.array, history.chance
        ratio = history.median_ratio(20)
        if chance is None or len(values) < _STEPS or not np.isfinite(values).all():
            return
        tail = float(values[-len(values) // 5 :].mean())
        if ratio is None or not self.ratio < ratio < 0.3 or tail > 1.3 * chance:
            return
        gradients = [r.abs_mean for step in list(history.rows["gradients"])[-1:] for r in history.at("gradients", step)]
        if not gradients or np.median(gradients) < _ALIVE:
            return
        last = history.passes[-1] if history.passes else None
        if last is not None and len(last.labels) >= 30:
            n = len(last.labels)
            _, counts = np.unique(last.labels, return_counts=True)
            base = counts.max() / n
            surely = last.accuracy - 2 * math.sqrt(max(last.accuracy * (1 - last.accuracy), 1 / n) / n)
            if surely < base and last.accuracy < _ABOVE * base and last.loss > 0.9 * chance:
                yield self.found(
                    history,
                    f"After {len(values):,} steps the accuracy on {n} validation pictures is {last.accuracy:.3f}, and "
                    f"that of always saying the most frequent class {base:.3f}.",
                    value=last.accuracy,
                    threshold=base,
                    n=n,
                )
        elif tail > 0.9 * chance:
            yield self.found(
                history,
                f"After {len(values):,} steps the training loss is {tail:.3g}; that of guessing is {chance:.3g}.",
                confidence="low",
                value=tail,
                threshold=0.9 * chance,
                n=len(values),
            )


RULE = ShuffledLabels
