"""NaN or infinity in a tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import TensorRule
from vizsla.findings import Severity

_LOOKED_AT = ("losses", "gradients", "weights", "biases", "input_image")


@dataclass
class ExplodingTensor(TensorRule):
    """Fires where a loss, gradient, weight or picture is NaN, or infinite unless ``only_nan``."""

    only_nan: bool = False

    name: ClassVar[str] = "exploding_tensor"
    aws: ClassVar[str | None] = "ExplodingTensor"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "lower the learning rate by ten, clip the gradients, or look for a division or logarithm of 0"
    why: ClassVar[str] = "nothing is learned from here on: whatever is computed from it is no number either"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        bad = [row for row in self.chosen(history, _LOOKED_AT) if self._explodes(row.min, row.max, row.mean)]
        if bad:
            what = "NaN" if math.isnan(bad[0].mean) or math.isnan(bad[0].min) else "infinite"
            yield self.found(
                history,
                f"{bad[0].name} is {what}" + (f", and {len(bad) - 1} more tensors." if len(bad) > 1 else "."),
                value=bad[0].mean,
                n=len(bad),
                tensors=[row.name for row in bad[:10]],
            )

    def _explodes(self, *values: float) -> bool:
        return any(math.isnan(v) or (math.isinf(v) and not self.only_nan) for v in values)


RULE = ExplodingTensor
