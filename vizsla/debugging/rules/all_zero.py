"""Tensors of nothing but zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import TensorRule
from vizsla.findings import Severity

_PATIENCE = 3


@dataclass
class AllZero(TensorRule):
    """Fires where ``threshold`` percent of a tensor are 0, in three recorded steps in a row: by default of weights,
    their gradients and the pictures. AWS's: of what ``collection_names`` or ``tensor_regex`` choose, once."""

    threshold: float = 100.0

    name: ClassVar[str] = "all_zero"
    aws: ClassVar[str | None] = "AllZero"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "find where the signal is lost: black pictures, dead units or zeros at the beginning"
    why: ClassVar[str] = "zeros carry nothing forward and no gradient back"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        rows = [row for row in self.chosen(history, ("weights", "gradients", "input_image")) if "," in row.shape]
        zero = [row for row in rows if self._is_zero(history, row.name)]
        if zero:
            yield self.found(
                history,
                f"{len(zero)} tensors are 0 throughout, such as {zero[0].name}.",
                value=100 * zero[0].zeros,
                threshold=self.threshold,
                n=_PATIENCE,
                tensors=[row.name for row in zero[:10]],
            )

    def _is_zero(self, history: History, name: str) -> bool:
        last = history.last(name, _PATIENCE)
        return len(last) == _PATIENCE and all(100 * row.zeros >= self.threshold for row in last)

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for row in self.chosen(history):
            if 100 * row.zeros >= self.threshold:
                yield self.found(
                    history,
                    f"{100 * row.zeros:.0f} % of {row.name} are 0.",
                    subject=row.name,
                    value=100 * row.zeros,
                    threshold=self.threshold,
                    n=row.n,
                )


RULE = AllZero
