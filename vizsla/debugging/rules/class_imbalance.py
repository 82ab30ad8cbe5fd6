"""Classes that are seen far more often than others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn


@dataclass
class ClassImbalance(BuiltIn):
    """Counts the labels that the training loss was given. Fires where, after ``samples`` labels, the largest class is
    more than ``threshold_imbalance`` times the smallest, beyond what chance makes of counts (two standard deviations).

    AWS's: the ratio of the counts alone, or a class of which more than ``threshold_misprediction`` are mispredicted.
    Labels are taken from the call of the loss, not by ``argmax`` and the regular expressions.
    """

    threshold_imbalance: float = 10.0
    threshold_misprediction: float = 0.7
    samples: int = 500
    argmax: bool = False
    labels_regex: str = ".*labels"
    predictions_regex: str = ".*predictions"

    name: ClassVar[str] = "class_imbalance"
    aws: ClassVar[str | None] = "ClassImbalance"
    only_aws: ClassVar[frozenset[str]] = frozenset({"threshold_misprediction"})
    without_effect: ClassVar[frozenset[str]] = frozenset({"argmax", "labels_regex", "predictions_regex"})
    fix: ClassVar[str] = "weigh the classes in the loss or draw them evenly, and judge by the balanced accuracy"
    why: ClassVar[str] = "the rare classes hardly count in the loss"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        n = history.label_counts.total()
        if n < self.samples or not history.classes or n < 8 * history.classes:
            return
        counts = [history.label_counts[label] for label in range(history.classes)]
        high, low = max(counts), min(counts)
        surely = (high - 2 * math.sqrt(high)) / (low + 2 * math.sqrt(low) + 2)
        if surely > self.threshold_imbalance:
            yield self.found(
                history,
                f"Class {counts.index(high)} was trained on {high:,} times, class {counts.index(low)} {low:,} times.",
                value=high / max(low, 1),
                threshold=self.threshold_imbalance,
                n=n,
                counts=counts[:100],
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        n = history.label_counts.total()
        if n < self.samples:
            return
        high, low = max(history.label_counts.values()), min(history.label_counts.values())
        if high / low > self.threshold_imbalance:
            words = f"The largest class has {high:,} labels, the smallest {low:,}."
            yield self.found(history, words, value=high / low, threshold=self.threshold_imbalance, n=n)
        for label, count in sorted(history.label_counts.items()):
            wrong = 1 - history.right_counts[label] / count
            if wrong > self.threshold_misprediction:
                yield self.found(
                    history,
                    f"{100 * wrong:.0f} % of class {label} are mispredicted.",
                    subject=f"class {label}",
                    value=wrong,
                    threshold=self.threshold_misprediction,
                    n=count,
                )


RULE = ClassImbalance
