"""Parameters that are frozen and should train, or train and were meant frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import TRAINS, History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_PATIENCE = 3


@dataclass
class FrozenMismatch(BuiltIn):
    """Fires where the last layer that a forward pass comes to is frozen while others train, and, as information, where
    the statistics of batch normalisation move although its parameters are frozen."""

    _moved: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "frozen_mismatch"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "set requires_grad of the new layer to True"
    why: ClassVar[str] = "a new layer that stays as it was initialised gives random answers"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        if history.mode not in TRAINS or not history.at("updates"):
            return
        weights = {k: v for k, v in history.facts.get("parameters", {}).items() if len(v["shape"]) > 1}
        last = str(history.facts.get("last_layer"))
        if last in weights and not weights[last]["trains"] and any(v["trains"] for v in weights.values()):
            yield self.found(history, f"The last layer, {last}, is frozen while others train.", subject=last, n=1)
        frozen = [row.values for row in history.at("batch_norm") if row.values and row.values[4]]
        self._moved += bool(frozen) and all(v[3] for v in frozen)
        if self._moved >= _PATIENCE:
            yield self.found(
                history,
                f"{len(frozen)} batch normalisations with frozen parameters take new statistics from each batch.",
                subject="statistics",
                severity="info",
                fix="call .eval() on the frozen part after model.train(), where it is to stay as it was",
                n=self._moved,
            )


RULE = FrozenMismatch
