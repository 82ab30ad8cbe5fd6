"""Sigmoids and tanhs that are stuck at their ends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import TensorRule

_PATIENCE = 3
_SHARE = 70.0


@dataclass
class SaturatedActivation(TensorRule):
    """Fires where more than 70 percent of a layer's outputs (or ``threshold_layer``, if that is more) are within 0.01
    of an end of their range, in three recorded steps in a row. AWS's: inputs that
    are beyond the limits, of which its smallest and largest are looked at."""

    tensor_regex: str | None = ".*tanh_input|.*sigmoid_input"
    threshold_tanh_min: float = -9.4999
    threshold_tanh_max: float = 9.4999
    threshold_sigmoid_min: float = -23.0
    threshold_sigmoid_max: float = 16.99999
    threshold_inactivity: float = 1.0
    threshold_layer: float = 50.0

    name: ClassVar[str] = "saturated_activation"
    aws: ClassVar[str | None] = "SaturatedActivation"
    only_aws: ClassVar[frozenset[str]] = frozenset(
        {
            "threshold_tanh_min",
            "threshold_tanh_max",
            "threshold_sigmoid_min",
            "threshold_sigmoid_max",
            "collection_names",
            "tensor_regex",
        }
    )
    without_effect: ClassVar[frozenset[str]] = frozenset({"threshold_inactivity"})
    fix: ClassVar[str] = (
        "lower the learning rate or the scale of the initialisation, or normalise before the activation"
    )
    why: ClassVar[str] = "at the ends of its range an activation has no slope, so that what is before it does not train"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        for kind in ("Tanh", "Sigmoid"):
            for row in history.at(kind):
                rows = [r for r in history.last(row.name, _PATIENCE) if r.values and math.isfinite(r.mean)]
                if len(rows) < _PATIENCE:
                    continue
                shares = [100 * float((1 - np.array(r.values)).mean()) for r in rows]
                if min(shares) > max(_SHARE, self.threshold_layer):
                    yield self.found(
                        history,
                        f"{shares[-1]:.0f} % of the outputs of {row.name.rpartition('_output')[0]} are at an end of "
                        "their range.",
                        subject=row.name,
                        value=shares[-1],
                        threshold=max(_SHARE, self.threshold_layer),
                        n=len(rows),
                    )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for row in self.chosen(history):
            low, high = self.threshold_sigmoid_min, self.threshold_sigmoid_max
            if "tanh" in row.name:
                low, high = self.threshold_tanh_min, self.threshold_tanh_max
            if (row.min < low and row.max < low) or row.min > high:
                yield self.found(
                    history,
                    f"All inputs of {row.name} are beyond {low:g} to {high:g}.",
                    subject=row.name,
                    value=row.mean,
                    threshold=high,
                    n=row.n,
                )


RULE = SaturatedActivation
