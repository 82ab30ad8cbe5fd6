"""Labels that seem to have nothing to do with the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, of_layers
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Confidence, Severity

_STEPS, _PASSES, _PICTURES = 100, 5, 30
_ABOVE, _NEAR, _LEARNED = 1.25, 0.97, 0.7
_ALIVE = 1e-7
_UNEQUAL = 5


@dataclass
class ShuffledLabels(BuiltIn):
    """Looks when training has ended. Fires where training works (finite losses, gradients, updates of at least
    ``ratio`` of the weights) and its loss has come below 70 % of guessing, while in the middle one of the last five
    passes over the validation pictures the accuracy is below 1.25 times that of the most frequent class and the loss
    that of guessing or more. Where the training loss has not fallen so far, that is said as information."""

    ratio: float = 1e-4

    name: ClassVar[str] = "shuffled_labels"
    severity: ClassVar[Severity] = "warning"
    confidence: ClassVar[Confidence] = "medium"
    fix: ClassVar[str] = (
        "look at pictures with their labels: a table that was sorted apart, ids that begin at 0 and at 1"
    )
    why: ClassVar[str] = "a model that trains well and knows nothing was given labels that tell nothing"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        values, chance = history.losses.values, history.chance
        ratio = history.median_ratio(20)
        if chance is None or len(values) < _STEPS or not np.isfinite(values).all():
            return
        tail = float(values[-len(values) // 5 :].mean())
        if ratio is None or not self.ratio < ratio < 0.3 or tail > 1.3 * chance:
            return
        gradients = [
            r.abs_mean
            for step in list(history.rows["gradients"])[-1:]
            for r in of_layers(history.at("gradients", step))
        ]
        if not gradients or np.median(gradients) < _ALIVE or _is_unequal(history) or _is_constant(history):
            return
        last = history.passes[-_PASSES:]
        if len(last) < _PASSES or len(last[-1].labels) < _PICTURES:
            return
        n = len(last[-1].labels)
        base = float(np.unique(last[-1].labels, return_counts=True)[1].max() / n)
        accuracy, loss = (float(np.median(v)) for v in ([p.accuracy for p in last], [p.loss for p in last]))
        if accuracy < _ABOVE * base and loss > _NEAR * chance:
            learned = tail < _LEARNED * chance
            yield self.found(
                history,
                f"The training loss is {tail:.3g}, and the accuracy on {n} validation pictures {accuracy:.3f}; that of "
                f"always saying the most frequent class is {base:.3f}.",
                severity="warning" if learned else "info",
                confidence="medium" if learned else "low",
                value=accuracy,
                threshold=_ABOVE * base,
                loss=tail,
                n=n,
            )


def _is_unequal(history: History) -> bool:
    """Whether the training labels themselves explain it."""
    counts = [history.label_counts[label] for label in range(history.classes or 1)]
    return max(counts) > _UNEQUAL * max(1, min(counts))


def _is_constant(history: History) -> bool:
    """Whether weights began as one number, which explains it, too."""
    first = next(iter(history.rows["weights"].values()), [])
    return any(row.std == 0 and row.n > 16 for row in of_layers(first))


RULE = ShuffledLabels
