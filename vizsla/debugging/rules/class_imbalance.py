"""Classes that are seen far more often than others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn


@dataclass
class ClassImbalance(BuiltIn):
    """Counts the labels that the training loss was given. Fires where, after ``samples`` labels, the largest class is
    more than ``threshold_imbalance`` times the smallest, beyond what chance makes of counts (two standard deviations).

    AWS's: the ratio of the counts alone, or a class of which more than ``threshold_misprediction`` are mispredicted.
    ``argmax`` and the regular expressions of the names are accepted and not needed: labels are taken from the loss.
    """

    threshold_imbalance: float = 10.0
    threshold_misprediction: float = 0.7
    samples: int = 500
    argmax: bool = False
    labels_regex: str = ".*labels"
    predictions_regex: str = ".*predictions"
    _seen: int = field(default=0, init=False, repr=False)
    _labels: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    _right: dict[int, int] = field(default_factory=dict, init=False, repr=False)

    name: ClassVar[str] = "class_imbalance"
    aws: ClassVar[str | None] = "ClassImbalance"
    fix: ClassVar[str] = "weigh the classes in the loss or draw them evenly, and judge by the balanced accuracy"
    why: ClassVar[str] = "the rare classes hardly count in the loss"

    def _count(self, history: History) -> int:
        new = history.train_labels[self._seen :]
        for labels, predictions in zip(new, history.train_predictions[self._seen :], strict=True):
            for label, prediction in zip(labels, predictions, strict=True):
                self._labels[int(label)] = self._labels.get(int(label), 0) + 1
                self._right[int(label)] = self._right.get(int(label), 0) + (label == prediction)
        self._seen += len(new)
        return sum(self._labels.values())

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        n = self._count(history)
        if n < self.samples or not history.classes or n < 8 * history.classes:
            return
        counts = [self._labels.get(label, 0) for label in range(history.classes)]
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
        n = self._count(history)
        if n < self.samples:
            return
        high, low = max(self._labels.values()), min(self._labels.values())
        if high / low > self.threshold_imbalance:
            words = f"The largest class has {high:,} labels, the smallest {low:,}."
            yield self.found(history, words, value=high / low, threshold=self.threshold_imbalance, n=n)
        for label, count in sorted(self._labels.items()):
            wrong = 1 - self._right[label] / count
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
