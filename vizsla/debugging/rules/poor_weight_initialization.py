"""A beginning from which nothing can be learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, of_layers
from vizsla.debugging.rules.base import BuiltIn, matches
from vizsla.findings import Severity

_TOO_HIGH = 6.0
_RANGE = 1e4


@dataclass
class PoorWeightInitialization(BuiltIn):
    """Looks at the first step. Fires where a weight between two layers is the same number everywhere, where the spread
    of activations grows or shrinks ten thousand times over the depth, or where the first loss is more than six times
    that of guessing.

    AWS's, in the first ``steps`` steps: the ratio of the largest to the smallest variance of what
    ``activation_inputs_regex`` matches over ``threshold``, a loss that does not fall for ``patience`` steps, or the
    spread of a gradient (here 3.29 standard deviations, its 5th to 95th percentile if it is
    normal) under ``distribution_range``.
    """

    activation_inputs_regex: str = ".*relu_input"
    threshold: float = 10.0
    distribution_range: float = 0.001
    patience: int = 5
    steps: int = 10
    _judged: bool = field(default=False, init=False, repr=False)

    name: ClassVar[str] = "poor_weight_initialization"
    aws: ClassVar[str | None] = "PoorWeightInitialization"
    only_aws: ClassVar[frozenset[str]] = frozenset(
        {"activation_inputs_regex", "threshold", "distribution_range", "patience", "steps"}
    )
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "initialise as the framework does (Kaiming for ReLU), and a new last layer with small weights"
    why: ClassVar[str] = "units that begin alike stay alike, and a signal that dies or explodes trains nothing"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        if self._judged or not history.at("losses") or history.mode == "EVAL":
            return
        self._judged = True
        weights = [row for row in of_layers(history.at("weights")) if row.n > 16]
        last = {weights[-1].name if weights else "", history.facts.get("last_layer")}  # one of zeros begins well
        same = [row.name for row in weights if row.std <= 1e-7 * max(abs(row.mean), 1e-30) and row.name not in last]
        if same:
            yield self.found(
                history,
                f"Each of {len(same)} weights begins as one and the same number, such as {same[0]}.",
                n=len(same),
                tensors=same[:10],
            )
        spread = [row.std for kind in ("ReLU", "ReLU6", "LeakyReLU", "Tanh", "GELU") for row in history.at(kind)]
        if len(spread) > 2 and max(spread) > _RANGE * max(min(spread), 1e-30) and not same:
            yield self.found(
                history,
                f"The spread of the activations goes from {min(spread):.1e} to {max(spread):.1e} over the depth.",
                subject="activations",
                value=max(spread) / max(min(spread), 1e-30),
                threshold=_RANGE,
                n=len(spread),
            )
        first = history.losses.values[0]
        summed = history.batch and history.batch > 4 and first > 0.5 * history.batch * (history.chance or first)
        if history.chance and first > _TOO_HIGH * history.chance and not summed:
            yield self.found(
                history,
                f"The first loss is {first:.3g}; that of guessing is {history.chance:.3g}.",
                subject="loss",
                severity="warning",
                confidence="medium",
                value=first,
                threshold=_TOO_HIGH * history.chance,
                n=1,
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        if history.steps_seen > self.steps:
            return
        losses = history.losses.values
        if len(losses) > self.patience and min(losses[-self.patience :]) >= min(losses[: -self.patience]):
            yield self.found(
                history,
                f"The loss has not fallen in {self.patience} of the first steps: {losses[-1]:.4g}.",
                subject="loss",
                value=float(losses[-1]),
                threshold=float(min(losses[: -self.patience])),
                n=self.patience,
            )
        inputs = history.at("relu_input")
        if self.activation_inputs_regex != PoorWeightInitialization.activation_inputs_regex:
            rows = [row for steps in history.rows.values() for row in steps.get(history.step, ())]
            inputs = [row for row in rows if matches(self.activation_inputs_regex, row.name)]
        variances = [row.std**2 for row in inputs]
        if len(variances) > 1 and max(variances) > self.threshold * min(variances):
            yield self.found(
                history,
                f"The variances of relu_input differ by {max(variances) / max(min(variances), 1e-30):.3g}.",
                value=max(variances) / max(min(variances), 1e-30),
                threshold=self.threshold,
                n=len(variances),
            )
        for row in history.at("gradients"):
            if 3.29 * row.std < self.distribution_range:
                yield self.found(
                    history,
                    f"The spread of {row.name} is {3.29 * row.std:.1e}.",
                    subject=row.name,
                    value=3.29 * row.std,
                    threshold=self.distribution_range,
                    n=row.n,
                )


RULE = PoorWeightInitialization
