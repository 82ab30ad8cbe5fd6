"""Pictures that are normalised otherwise than those that the backbone was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_WITHIN = 0.15
_STATISTICS = 0.6
_PICTURES = 8
_NOISE = 0.02


@dataclass
class WrongNormalization(BuiltIn):
    """Compares the range of the first batches with that of the mean and standard deviation in the model's own
    configuration (timm's ``pretrained_cfg``): photos reach both ends. Fires where an end is missed by more than
    ``tolerance`` of the range; a few values beyond an end are none of the pictures (random erasing). Without such a
    configuration, the first batch normalisation that was trained tells: where a batch's means are more than
    ``distance`` of its standard deviations away."""

    tolerance: float = _WITHIN
    distance: float = _STATISTICS
    _low: float = field(default=float("inf"), init=False, repr=False)
    _high: float = field(default=float("-inf"), init=False, repr=False)
    _pictures: int = field(default=0, init=False, repr=False)
    _beyond: list[float] = field(default_factory=list, init=False, repr=False)

    name: ClassVar[str] = "wrong_normalization"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = (
        "use the backbone's own mean and standard deviation: timm.data.resolve_model_data_config(model)"
    )
    why: ClassVar[str] = "the backbone sees pictures such as it was never trained on, and its features are worse"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        for row in history.at("input_image"):
            self._pictures += int(row.shape.split(",")[0])
            self._low, self._high = min(self._low, row.min), max(self._high, row.max)
        self._beyond += [row.mean for row in history.at("facts") if row.name == "beyond_range"]
        if self._pictures < _PICTURES or not history.at("input_image"):
            return
        norms = [row for row in history.at("batch_norm") if row.values]
        is_trained = any(not row.values[2] for row in norms if row.values)
        config = history.facts.get("normalization")
        if config and is_trained:
            expected = sorted(
                ((end - m) / s) for end in (0.0, 1.0) for m, s in zip(config["mean"], config["std"], strict=True)
            )
            low, high = expected[0], expected[-1]
            miss = max(self._low - low, high - self._high)
            if not self._beyond or float(np.mean(self._beyond)) > _NOISE:
                miss = max(miss, low - self._low, self._high - high)
            miss /= high - low
            if miss > self.tolerance:
                yield self.found(
                    history,
                    f"The pictures' values go from {self._low:.3g} to {self._high:.3g}; with the backbone's own "
                    f"normalisation they go from {low:.3g} to {high:.3g}.",
                    value=miss,
                    threshold=self.tolerance,
                    n=self._pictures,
                )
        elif is_trained and history.steps_seen == 1 and norms[0].values and not norms[0].values[5]:
            distance = norms[0].values[0]
            if distance > self.distance:
                yield self.found(
                    history,
                    f"The first normalisation, {norms[0].name}, was trained on pictures that were {distance:.2g} "
                    "standard deviations away from these (mean over its channels).",
                    confidence="medium",
                    value=distance,
                    threshold=self.distance,
                    n=self._pictures,
                )


RULE = WrongNormalization
