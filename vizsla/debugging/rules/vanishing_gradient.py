"""Gradients too small to train a layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, of_layers
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_PATIENCE = 3
_SHARE = 1e-4
_LAYER_SCALE = 0.1


@dataclass
class VanishingGradient(BuiltIn):
    """Fires where the mean size of a weight's gradient is below ``threshold``, or is a ten thousandth of the largest
    layer's, in three recorded steps in a row, while the loss is far from low. AWS's: any gradient, once. Nothing is
    said of a network with layer scale (Touvron et al. 2021, arXiv:2103.17239): its blocks begin with hardly any."""

    threshold: float = 1e-7

    name: ClassVar[str] = "vanishing_gradient"
    aws: ClassVar[str | None] = "VanishingGradient"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "use ReLU with batch normalisation or residual connections, or an initialisation to the depth"
    why: ClassVar[str] = "these layers stay as they were initialised"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        steps = list(history.rows["gradients"])[-_PATIENCE:]
        if len(steps) < _PATIENCE or steps[-1] != history.step or _is_low(history) or _has_layer_scale(history):
            return
        small: set[str] | None = None
        total = 0
        for step in steps:
            rows = of_layers(history.at("gradients", step))
            largest = max((row.abs_mean for row in rows), default=0.0)
            bound = max(self.threshold, _SHARE * largest)
            now = {row.name for row in rows if row.abs_mean < bound}
            small, total = now if small is None else small & now, len(rows)
        if small and (len(small) >= max(2, total // 4) or total <= 2):
            values = {row.name: row.abs_mean for row in history.at("gradients") if row.name in small}
            smallest = min(values, key=lambda name: values[name])
            yield self.found(
                history,
                f"The gradients of {len(small)} of {total} weights have vanished, such as {smallest} with a mean size "
                f"of {values[smallest]:.1e}.",
                value=values[smallest],
                threshold=self.threshold,
                n=len(steps),
                tensors=sorted(small)[:10],
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for row in history.at("gradients"):
            if row.abs_mean < self.threshold:
                yield self.found(
                    history,
                    f"The mean size of {row.name} is {row.abs_mean:.1e}.",
                    subject=row.name,
                    value=row.abs_mean,
                    threshold=self.threshold,
                    n=row.n,
                )


def _has_layer_scale(history: History) -> bool:
    """Whether branches began with a factor near 0 of their own."""
    first = [row for name in ("biases", "weights") for row in next(iter(history.rows[name].values()), [])]
    own = [row for row in first if not row.name.endswith(("weight", "bias"))]
    return any(0 < abs(row.mean) <= _LAYER_SCALE and row.std <= 1e-6 * abs(row.mean) for row in own)


def _is_low(history: History) -> bool:
    losses = history.losses.values
    if not len(losses):
        return False
    return bool(losses[-1] < 0.2 * (history.chance or losses[0]))


RULE = VanishingGradient
