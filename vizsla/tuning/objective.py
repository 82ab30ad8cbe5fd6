"""What is made small or large, and why it may not be the test split's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vizsla.errors import UsageError
from vizsla.parameters import spelled

Direction = Literal["minimize", "maximize"]

SEALED = (
    "the test split is sealed during a search: the best of many trials by a test metric is the luckiest on those "
    "pictures, and nothing is left to measure it honestly; it is read once, at the end"
)

OWN_METRICS: dict[str, Direction] = {
    "valid_loss": "minimize",
    "valid_accuracy": "maximize",
}
"""What our own training measures on the validation split after every epoch."""

_ALIASES = {
    "loss": "valid_loss",
    "accuracy": "valid_accuracy",
    "validation loss": "valid_loss",
    "validation accuracy": "valid_accuracy",
    "validation:loss": "valid_loss",
    "validation:accuracy": "valid_accuracy",
    "val_loss": "valid_loss",
    "val_accuracy": "valid_accuracy",
    "average validation loss": "valid_loss",
}
_TEST = re.compile(r"(?<![a-z])test", re.IGNORECASE)
_SMALL_IS_GOOD = re.compile(r"loss|error|rmse|mae|mse|perplexity|nll", re.IGNORECASE)


@dataclass(frozen=True)
class Objective:
    """The metric that decides, and whether less of it is better."""

    metric: str
    direction: Direction

    def better(self, a: float | None, b: float | None) -> bool:
        """Whether ``a`` is better than ``b``; a value that is no number never is."""
        if a is None or not math.isfinite(a):
            return False
        if b is None or not math.isfinite(b):
            return True
        return a < b if self.direction == "minimize" else a > b

    def cost(self, value: float) -> float:
        """The value, turned so that less is better."""
        return value if self.direction == "minimize" else -value

    def to_dict(self) -> dict[str, Any]:
        """In the field names of SageMaker's ``HyperParameterTuningJobObjective``."""
        return {"Type": self.direction.capitalize(), "MetricName": self.metric}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Objective:
        """From :meth:`to_dict`."""
        return cls(document["MetricName"], document["Type"].lower())


def names_test(metric: str) -> bool:
    """Whether a metric's name says that it is measured on the test split."""
    return bool(_TEST.search(metric.replace("_", " ")))


def own_objective(metric: str | None, direction: str | None = None) -> Objective:
    """The objective of our own training; the default is the validation loss.

    The loss tells configurations apart that get the same pictures right; ask for ``valid_accuracy`` where only
    that counts.

    Raises
    ------
    UsageError
        When the metric is the test split's, or is not measured, or the direction is the wrong one.
    """
    wanted = metric or "valid_loss"
    name = _ALIASES.get(wanted.strip().lower(), wanted)
    if names_test(wanted):
        raise UsageError(
            f"The objective {wanted!r} is refused: {SEALED}.",
            parameter="objective",
            allowed=", ".join(OWN_METRICS),
            do="use " + ("valid_loss" if _SMALL_IS_GOOD.search(wanted) else "valid_accuracy"),
        )
    if name not in OWN_METRICS:
        raise UsageError(
            f"Training measures no metric {wanted!r}.", parameter="objective", allowed=", ".join(OWN_METRICS)
        )
    natural = OWN_METRICS[name]
    if direction is not None and _direction(direction) != natural:
        raise UsageError(f"{name} cannot be {direction}d: nobody wants that.", parameter="objective", allowed=natural)
    return Objective(name, natural)


def script_objective(metric: str, direction: str | None, names: Sequence[str]) -> tuple[Objective, str | None]:
    """The objective of a script's trials, and a warning where its name says that it is the test split's.

    Parameters
    ----------
    names:
        The metrics that the script's metric definitions name.

    Raises
    ------
    UsageError
        When no metric definition has that name.
    """
    if names and metric not in names:
        raise UsageError(
            f"No metric definition is named {metric!r}.",
            parameter="objective",
            allowed=", ".join(names),
            do=f"choose one of them, or add {spelled('metrics', {metric: 'REGEX'})}",
        )
    if direction is None:
        direction = "minimize" if _SMALL_IS_GOOD.search(metric) else "maximize"
    warning = None
    if names_test(metric):
        warning = (
            f"The objective {metric!r} is measured on the test split, by its name: the winner's value will look better "
            "than it is. Let the script print a validation metric instead."
        )
    return Objective(metric, _direction(direction)), warning


def _direction(text: str) -> Direction:
    lowered = text.strip().lower()
    if lowered.startswith("min"):
        return "minimize"
    if lowered.startswith("max"):
        return "maximize"
    raise UsageError(f"There is no direction {text!r}.", parameter="objective", allowed="minimize or maximize")
