"""A loss that leaps up after it had fallen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn

_WINDOW = 20


@dataclass
class LossSpike(BuiltIn):
    """Fires where a loss is over ``times`` the median of the 20 before it, ``deviations`` of their robust standard
    deviations above it, and above that of guessing (or of the first steps)."""

    times: float = 2.5
    deviations: float = 8.0

    name: ClassVar[str] = "loss_spike"
    fix: ClassVar[str] = "clip the gradients or lower the learning rate, and look at the pictures of this batch"
    why: ClassVar[str] = "one bad batch or one step too large can undo what was learned"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        series = history.losses
        if len(series) <= _WINDOW or series.steps[-1] != history.step:
            return
        if (
            history.batch_now and history.batch and history.batch_now < history.batch / 2
        ):  # an epoch's last: it is noisy
            return
        before, now = series.values[-1 - _WINDOW : -1], series.values[-1]
        if not (np.isfinite(before).all() and np.isfinite(now)):
            return
        median = float(np.median(before))
        spread = 1.4826 * float(np.median(abs(before - median)))
        floor = 1.2 * (history.chance or float(np.median(series.values[:5])))
        bound = max(self.times * median, median + self.deviations * spread, floor)
        if now > bound:
            yield self.found(
                history,
                f"The loss leapt to {now:.3g} from {median:.3g}.",
                value=now,
                threshold=bound,
                before=median,
                n=_WINDOW,
            )


RULE = LossSpike
