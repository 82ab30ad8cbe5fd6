"""Gradients too small to train a layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, of_layers
from vizsla.debugging.rules.base import BuiltIn
from vizsla.debugging.store import Row
from vizsla.findings import Severity

_PATIENCE = 3
_SHARE = 1e-4
_SMALL = 0.01


@dataclass
class VanishingGradient(BuiltIn):
    """Fires where the mean size of a weight's gradient is below ``threshold``, or is a ten thousandth of the largest
    layer's, in three recorded steps in a row, while the loss is far from low. AWS's: any gradient, once. Nothing is
    said while branches have hardly any weight: of layer scale (Touvron et al. 2021, arXiv:2103.17239), or of
    normalisations whose scale begins as 0 (Goyal et al. 2017, arXiv:1706.02677), as timm's residual networks do."""

    threshold: float = 1e-7

    name: ClassVar[str] = "vanishing_gradient"
    aws: ClassVar[str | None] = "VanishingGradient"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "use ReLU with batch normalisation or residual connections, or an initialisation to the depth"
    why: ClassVar[str] = "these layers stay as they were initialised"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        steps = list(history.rows["gradients"])[-_PATIENCE:]
        if len(steps) < _PATIENCE or steps[-1] != history.step or _is_low(history) or _has_small_branches(history):
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


def _has_small_branches(history: History) -> bool:
    """Whether branches still have a factor near 0: layer scale, or a normalisation whose scale began as 0."""
    rows = [row for name in ("biases", "weights") for row in history.at(name) if not row.name.endswith("bias")]
    layers = {row.name for row in of_layers(rows)}
    return any(row.abs_mean <= _SMALL for row in rows if row.name not in layers and max(_shape(row)) > 1)


def _shape(row: Row) -> list[int]:
    return [int(n) for n in row.shape.split(",") if n] or [1]


def _is_low(history: History) -> bool:
    losses = history.losses.values
    if not len(losses):
        return False
    return bool(losses[-1] < 0.2 * (history.chance or losses[0]))


RULE = VanishingGradient
