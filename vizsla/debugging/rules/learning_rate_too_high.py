"""Steps so large that the loss jumps about or rises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_LEAST = 12


@dataclass
class LearningRateTooHigh(BuiltIn):
    """Fires where the median of the last losses is more than ``rise`` times the first ones, and the optimizer has
    changed the weights by more than ``ratio`` of their size a step (median over the layers); or where, with
    ``leap_ratio``, a loss of the first third is more than ``leap`` times the first; or where the loss is no
    number within the first steps after such an update."""

    rise: float = 1.3
    leap: float = 1.7
    leap_ratio: float = 0.1
    ratio: float = 0.02
    _checked: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "learning_rate_too_high"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "divide the learning rate by ten, or warm it up over the first steps"
    why: ClassVar[str] = "each step overshoots what it looks for"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        series = history.losses
        n = len(series)
        if not n or series.steps[-1] != history.step:
            return
        values = series.values
        is_finite = bool(np.isfinite(values[-1]))
        if (is_finite and (n < _LEAST or n - self._checked < max(4, n // 10))) or (not is_finite and n >= 200):
            return
        self._checked = n
        steps = list(history.rows["updates"])
        ratios = [np.median(list(r.values())) for s in steps if (r := history.update_ratios(s))]
        largest = max((float(ratio) for ratio in ratios if not np.isnan(ratio)), default=0.0)
        if not is_finite:
            if largest > self.ratio or any(not np.isfinite(r) for r in ratios):
                yield self._finding(history, values[-1], values[0], self.rise * values[0], largest, n)
            return
        first = float(values[0])
        last = float(np.median(values[-max(5, n // 4) :]))
        base = max(first, 1.1 * (history.chance or 0.0))
        peak = float(values[: max(_LEAST, n // 3)].max())
        leaps = peak > self.leap * base and largest > self.leap_ratio
        if leaps or (last > self.rise * base and largest > self.ratio):
            bound = (self.leap if leaps else self.rise) * base
            yield self._finding(history, max(last, peak) if leaps else last, first, bound, largest, n)

    def _finding(self, history: History, now: float, first: float, bound: float, ratio: float, n: int) -> RuleFinding:
        return self.found(
            history,
            f"The loss went from {first:.3g} to {now:.3g} in {n:,} steps that changed the weights by up to {ratio:.2g} "
            "of their size.",
            value=now,
            before=first,
            threshold=bound,
            ratio=ratio,
            n=n,
        )


RULE = LearningRateTooHigh
