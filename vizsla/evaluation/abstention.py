"""What accuracy is to be had if the model may say nothing of the pictures that it is least sure of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.evaluate import Estimate
from vizsla.evaluation.intervals import wilson

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5)


@dataclass(frozen=True)
class Threshold:
    """Answering only where the most likely class has at least probability ``confidence``: the share of pictures that
    have an answer, and how many of these are right."""

    confidence: float
    coverage: float
    accuracy: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        interval = [round(self.accuracy.low, 6), round(self.accuracy.high, 6)]
        return {
            "confidence": round(self.confidence, 6),
            "coverage": round(self.coverage, 6),
            "accuracy": round(self.accuracy.value, 6),
            "accuracy_interval": interval,
        }


def thresholds(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[Threshold]:
    """Coverage against accuracy at some coverages, the largest first, from confidences and rightness (n,)."""
    every = _every(confidence, right)
    answers = np.array([round(one.coverage * len(confidence)) for one in every])
    wanted = [max(1, round(share * len(confidence))) for share in SHARES]
    chosen = {int(np.searchsorted(answers, count)) for count in wanted}
    return [every[at] for at in sorted(chosen, reverse=True)]


def reaching(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], target: float) -> Threshold | None:
    """The threshold that leaves most answers, of those at which the lower end of the accuracy's interval is the target;
    None where there is none."""
    return next((one for one in reversed(_every(confidence, right)) if one.accuracy.low >= target), None)


def _every(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[Threshold]:
    """One for each confidence that there is, the fewest answers first: pictures of equal confidence are not parted."""
    values, at = np.unique(-confidence, return_inverse=True)
    counts = np.cumsum(np.bincount(at, minlength=len(values))).tolist()
    hits = np.cumsum(np.bincount(at, weights=right, minlength=len(values))).astype(int).tolist()
    return [
        Threshold(-float(value), n / len(confidence), Estimate(k / n, *wilson(k, n)))
        for value, n, k in zip(values, counts, hits, strict=True)
    ]
