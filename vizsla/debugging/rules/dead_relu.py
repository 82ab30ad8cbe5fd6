"""ReLUs that never let anything through."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.collections import RELUS
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn, matches
from vizsla.debugging.store import Row
from vizsla.findings import Severity

_PATIENCE, _SHARE = 5, 75.0


@dataclass
class DeadRelu(BuiltIn):
    """Fires where more than 75 percent of a layer's units (or ``threshold_layer``, if that is more) let nothing at all
    through in any of five recorded steps in a row. AWS's: units that are active in less than ``threshold_inactivity``
    percent, once. Layers are found by their type; another ``tensor_regex`` chooses among them."""

    tensor_regex: str = ".*relu_output"
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    name: ClassVar[str] = "dead_relu"
    aws: ClassVar[str | None] = "DeadRelu"
    only_aws: ClassVar[frozenset[str]] = frozenset({"threshold_inactivity"})
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "lower the learning rate, look at the biases before these layers, or use LeakyReLU"
    why: ClassVar[str] = "a unit that is 0 for every picture gets no gradient and never comes back"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        for kind in RELUS:
            for row in self._layers(history, kind):
                rows = [r for r in history.last(row.name, _PATIENCE) if r.values and math.isfinite(r.mean)]
                if len(rows) < _PATIENCE:
                    continue
                active = np.array([r.values for r in rows if len(r.values or ()) == len(row.values or ())])
                if len(active) < _PATIENCE:
                    continue
                dead = 100 * float((active == 0).all(axis=0).mean())
                if dead > (bound := max(_SHARE, self.threshold_layer)):
                    yield self._finding(history, row.name, dead, bound, len(active))

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for kind in RELUS:
            for row in self._layers(history, kind):
                inactive = 100 * float((np.array(row.values) < self.threshold_inactivity / 100).mean())
                if inactive > self.threshold_layer:
                    yield self._finding(history, row.name, inactive, self.threshold_layer, 1)

    def _layers(self, history: History, kind: str) -> list[Row]:
        rows = history.at(kind)
        if self.tensor_regex == DeadRelu.tensor_regex:
            return rows
        return [row for row in rows if matches(self.tensor_regex, row.name)]

    def _finding(self, history: History, name: str, share: float, bound: float, n: int) -> RuleFinding:
        return self.found(
            history,
            f"{share:.0f} % of the units of {name.rpartition('_output')[0]} are dead.",
            subject=name,
            value=share,
            threshold=bound,
            n=n,
        )


RULE = DeadRelu
