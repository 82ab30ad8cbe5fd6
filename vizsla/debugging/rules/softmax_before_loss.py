"""Probabilities where the loss wants logits, or logits where it wants logarithms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_PATIENCE = 3
_NEAR = 1e-3


@dataclass
class SoftmaxBeforeLoss(BuiltIn):
    """Fires where, in three recorded steps, cross-entropy is given rows between 0 and 1 that sum to 1, or the negative
    log-likelihood rows whose exponentials do not."""

    name: ClassVar[str] = "softmax_before_loss"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "give CrossEntropyLoss the last layer's own outputs, and NLLLoss those of log_softmax"
    why: ClassVar[str] = "the loss takes a softmax of a softmax: it cannot fall far, and its gradients are small"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        rows = [row for row in history.at("loss_input") if row.values]
        if not rows or history.mode == "EVAL":
            return
        last = [row.values or () for row in history.last(rows[0].name, _PATIENCE)]
        kind = rows[0].name.lower().replace("_", "")
        if len(last) < _PATIENCE:
            return
        if "crossentropy" in kind and all(v[0] < _NEAR and v[2] >= 0 for v in last):
            yield self.found(
                history,
                "Cross-entropy is given probabilities: each row sums to 1.",
                value=last[-1][0],
                threshold=_NEAR,
                n=_PATIENCE,
            )
        if "nll" in kind and all(v[1] > 0.05 for v in last):
            yield self.found(
                history,
                f"NLLLoss is given what are no logarithms of probabilities: values up to {last[-1][3]:.3g}.",
                subject="nll",
                value=last[-1][1],
                threshold=0.05,
                n=_PATIENCE,
            )


RULE = SoftmaxBeforeLoss
