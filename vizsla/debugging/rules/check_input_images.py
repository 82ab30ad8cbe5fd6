"""Pictures whose values are not what a network is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_LARGE = 20.0
_FLAT = 1e-3


@dataclass
class CheckInputImages(BuiltIn):
    """Looks at the pictures that the model is called with. Fires where their values go beyond 20 (bytes that were
    never scaled), or where all pixels are one value. AWS's: where the mean of a channel, after ``threshold_samples``
    pictures, differs from 0 by more than ``threshold_mean``."""

    threshold_mean: float = 0.2
    threshold_samples: int = 500
    regex: str = ".*hybridsequential0_input_0"
    channel: int = 1
    _sums: list[npt.NDArray[np.float64]] = field(default_factory=list, init=False, repr=False)
    _n: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "check_input_images"
    aws: ClassVar[str | None] = "CheckInputImages"
    only_aws: ClassVar[frozenset[str]] = frozenset({"threshold_mean", "threshold_samples"})
    without_effect: ClassVar[frozenset[str]] = frozenset({"regex", "channel"})
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = (
        "scale the pixels to 0..1, then subtract the mean and divide by the standard deviation of the weights"
    )
    why: ClassVar[str] = "the first layer is made for inputs of about zero mean and unit spread"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        for row in history.at("input_image"):
            spread = max((row.values or ())[len(row.values or ()) // 2 :], default=0.0)
            if max(abs(row.min), abs(row.max)) > _LARGE:
                yield self.found(
                    history,
                    f"The pictures' values go from {row.min:.4g} to {row.max:.4g}: they are not scaled.",
                    value=row.max,
                    threshold=_LARGE,
                    n=int(row.shape.split(",")[0]),
                )
            elif spread < _FLAT and row.std < _FLAT:
                yield self.found(
                    history,
                    f"The pictures' values are all {row.mean:.3g}.",
                    value=row.std,
                    threshold=_FLAT,
                    n=int(row.shape.split(",")[0]),
                )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for row in history.at("input_image"):
            values = np.array(row.values)
            n = int(row.shape.split(",")[0])
            self._sums.append(values[: len(values) // 2] * n)
            self._n += n
            means = np.sum(self._sums, axis=0) / self._n
            if self._n >= self.threshold_samples and abs(means).max() > self.threshold_mean:
                yield self.found(
                    history,
                    f"The means of the channels are {', '.join(f'{m:.3g}' for m in means)}.",
                    value=float(abs(means).max()),
                    threshold=self.threshold_mean,
                    n=self._n,
                )


RULE = CheckInputImages
