"""Statistics of batch normalisation that do not fit the batches: the model is another one when it is evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn

_SETTLED = 100


@dataclass
class BatchNormGap(BuiltIn):
    """Fires where, in the last recorded evaluation after 100 steps of training, the batches' means are on average more
    than ``distance`` of the kept standard deviations from the kept means, or the variances differ by more than
    exp(``log_ratio``), in the middle one of the layers. Statistics that training did not use either are no gap."""

    distance: float = 1.0
    log_ratio: float = 1.5

    name: ClassVar[str] = "batch_norm_gap"
    fix: ClassVar[str] = (
        "use larger batches or a larger momentum, and the same normalisation of pictures in training and evaluation"
    )
    why: ClassVar[str] = "in evaluation the model uses statistics that are not those of its inputs"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        evaluated = [s for s, rows in history.rows["batch_norm"].items() if rows[0].mode == "EVAL"]
        if not evaluated or len(history.losses) < _SETTLED:
            return
        trained = (row for s, rows in history.rows["batch_norm"].items() if s not in evaluated for row in rows)
        if not any(row.values and row.values[3] for row in trained):
            return
        rows = [row.values for row in history.at("batch_norm", evaluated[-1]) if row.values and not row.values[5]]
        if not rows:
            return
        distance = float(np.median([v[0] for v in rows]))
        ratio = float(np.median([v[1] for v in rows]))
        if distance > self.distance or ratio > self.log_ratio:
            yield self.found(
                history,
                f"In evaluation the batches are {distance:.2g} standard deviations from what batch normalisation kept, "
                f"and their variances differ by a factor of {np.exp(ratio):.3g}.",
                step=evaluated[-1],
                value=distance,
                log_ratio=ratio,
                threshold=self.distance,
                n=len(rows),
            )


RULE = BatchNormGap
