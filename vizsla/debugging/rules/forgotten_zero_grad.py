"""Gradients that pile up from step to step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_PATIENCE = 3


@dataclass
class ForgottenZeroGrad(BuiltIn):
    """Fires where, in three recorded steps in a row, a backward pass begins with gradients that an optimizer has used
    already."""

    name: ClassVar[str] = "forgotten_zero_grad"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "call optimizer.zero_grad() before each backward pass"
    why: ClassVar[str] = "each step goes in the direction of all batches before it"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        rows = history.last("stale_gradient", _PATIENCE)
        if len(rows) == _PATIENCE and rows[-1].step == history.step and all(row.mean > 0 for row in rows):
            yield self.found(
                history,
                "Gradients that the optimizer has used are still there when the next ones are added.",
                value=rows[-1].mean,
                threshold=0,
                n=_PATIENCE,
            )


RULE = ForgottenZeroGrad
