"""How much an optimizer changes the weights, in proportion to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn

_LARGE = 0.25
_PATIENCE = 3


@dataclass
class WeightUpdateRatio(BuiltIn):
    """Fires where in three recorded steps in a row the median over the weights of |update| / |weight| of one step is
    over a quarter, or under ``small_threshold`` and not 0. Frozen parameters, biases and scales are left out.
    AWS's: any
    weight, over ``large_threshold`` or under ``small_threshold``."""

    num_steps: int | None = None
    large_threshold: float = 10.0
    small_threshold: float = 1e-8
    epsilon: float = 1e-9

    name: ClassVar[str] = "weight_update_ratio"
    aws: ClassVar[str | None] = "WeightUpdateRatio"
    only_aws: ClassVar[frozenset[str]] = frozenset({"large_threshold", "epsilon"})
    without_effect: ClassVar[frozenset[str]] = frozenset({"num_steps"})
    fix: ClassVar[str] = "change the learning rate until a step changes the weights by about a thousandth"
    why: ClassVar[str] = "updates as large as the weights overwrite what was learned, and tiny ones learn nothing"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        steps = list(history.rows["updates"])[-_PATIENCE:]
        if len(steps) < _PATIENCE or steps[-1] != history.step:
            return
        medians = [float(np.median(list(r.values()))) for s in steps if (r := history.update_ratios(s))]
        if len(medians) < _PATIENCE:
            return
        large, small = min(medians) > _LARGE, 0 < max(medians) < self.small_threshold
        if large or small:
            yield self.found(
                history,
                f"A step changes the weights by {np.median(medians):.2g} of their size (median over the layers).",
                subject="large" if large else "small",
                value=float(np.median(medians)),
                threshold=_LARGE if large else self.small_threshold,
                n=len(medians),
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        weights = {row.name: row for row in history.at("weights")}
        for row in history.at("updates"):
            weight = weights.get(row.name.removeprefix("update/"))
            if weight is None:
                continue
            ratio = row.l2 / (weight.l2 + self.epsilon)
            if ratio > self.large_threshold or ratio < self.small_threshold:
                yield self.found(
                    history,
                    f"The ratio of update and weight of {weight.name} is {ratio:.2g}.",
                    subject=weight.name,
                    value=ratio,
                    threshold=self.large_threshold if ratio > self.large_threshold else self.small_threshold,
                    n=weight.n,
                )


RULE = WeightUpdateRatio
