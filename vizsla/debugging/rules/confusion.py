"""Classes that are taken for others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_MOST = 0.6
_LEAST = 20


@dataclass
class Confusion(BuiltIn):
    """Looks at the last pass over the validation pictures, when training has ended. Fires where surely more than 60 %
    of a class (20 pictures at least, two standard errors) are taken for one other class.

    AWS's: for each i, confusion[i][i] / sum of the diagonal < ``min_diag``, or confusion[j][i] / sum_j confusion[j][i]
    > ``max_off_diag``, as its page prints the formulas; ``category_no`` limits it to the first classes.
    """

    category_no: int | None = None
    labels: str = "labels"
    predictions: str = "predictions"
    labels_collection: str | None = None
    predictions_collection: str | None = None
    min_diag: float = 0.9
    max_off_diag: float = 0.1
    _seen: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "confusion"
    aws: ClassVar[str | None] = "Confusion"
    only_aws: ClassVar[frozenset[str]] = frozenset({"category_no", "min_diag", "max_off_diag"})
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"labels", "predictions", "labels_collection", "predictions_collection"}
    )
    severity: ClassVar[Severity] = "info"
    fix: ClassVar[str] = "look at pictures of both classes: wrong labels, one class under two names, too few pictures"
    why: ClassVar[str] = "the model has not learned to tell them apart"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        if not history.passes or not len(history.passes[-1].labels):
            return
        last = history.passes[-1]
        for label in np.unique(last.labels).astype(int).tolist():
            answers = last.predictions[last.labels == label]
            counts = np.bincount(answers.astype(int))
            other, n = int(counts.argmax()), len(answers)
            share = counts[other] / n
            if other != label and n >= _LEAST and share - 2 * np.sqrt(share * (1 - share) / n) > _MOST:
                yield self.found(
                    history,
                    f"{100 * share:.0f} % of the {n} validation pictures of class {label} are taken for class {other}.",
                    subject=f"class {label}",
                    value=float(share),
                    threshold=_MOST,
                    n=n,
                )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        if len(history.passes) == self._seen:
            return
        self._seen, last = len(history.passes), history.passes[-1]
        if not len(last.labels):
            return
        size = self.category_no or int(max(last.labels.max(), last.predictions.max())) + 1
        matrix = np.zeros((size, size))
        for label, prediction in zip(last.labels.astype(int), last.predictions.astype(int), strict=True):
            if max(label, prediction) < size:
                matrix[label, prediction] += 1
        diagonal = np.diag(matrix) / max(np.trace(matrix), 1)
        shares = matrix / np.maximum(matrix.sum(axis=0), 1)
        for i in range(size):
            off = np.delete(shares[:, i], i).max(initial=0.0)
            if diagonal[i] < self.min_diag or off > self.max_off_diag:
                yield self.found(
                    history,
                    f"Class {i}: its part of the diagonal is {diagonal[i]:.2f}, the largest beside it {off:.2f}.",
                    subject=f"class {i}",
                    value=float(off),
                    threshold=self.max_off_diag,
                    n=int(matrix.sum()),
                )


RULE = Confusion
