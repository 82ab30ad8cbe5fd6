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
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    counts = sorted({max(1, round(share * len(order))) for share in SHARES}, reverse=True)
    return [_at(float(confidence[order[n - 1]]), n, int(hits[n - 1]), len(order)) for n in counts]


def reaching(confidence: npt.NDArray[np.float32], right: npt.NDArray[np.bool_], target: float) -> Threshold | None:
    """The threshold that leaves most answers, of those at which the lower end of the accuracy's interval is the target;
    None where there is none."""
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(right[order])
    for n in range(len(order), 0, -1):
        if hits[n - 1] >= target * n and wilson(int(hits[n - 1]), n)[0] >= target:
            return _at(float(confidence[order[n - 1]]), n, int(hits[n - 1]), len(order))
    return None


def _at(confidence: float, n: int, hits: int, total: int) -> Threshold:
    return Threshold(confidence, n / total, Estimate(hits / n, *wilson(hits, n)))
