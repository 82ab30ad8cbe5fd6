"""Two models on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """The ``other`` model is right on ``better`` pictures where this one is wrong, and wrong on ``worse`` where this
    one is right; ``p`` is the exact two-sided p-value of the sign test on those (McNemar 1947)."""

    other: str
    pictures: int
    accuracy: float
    other_accuracy: float
    better: int
    worse: int
    p: float

    @property
    def words(self) -> str:
        """What it means, in a sentence."""
        counts = (
            f"{self.other} is right on {self.better:,} pictures that this model gets wrong, and wrong on "
            f"{self.worse:,} that it gets right: p = {self.p:.2g}"
        )
        if self.p > 0.05:
            return f"No difference beyond chance: {counts}."
        return f"{'Better' if self.better > self.worse else 'Worse'} beyond chance: {counts}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "against": self.other,
            "pictures": self.pictures,
            "accuracy": round(self.accuracy, 6),
            "accuracy_of_the_other": round(self.other_accuracy, 6),
            "other_better_on": self.better,
            "other_worse_on": self.worse,
            "p": self.p,
            "words": self.words,
        }


def compare(right: Bools, other_right: Bools, other: str) -> Comparison:
    """Compare by which pictures each model is right about, bool (n,)."""
    better, worse = int((other_right & ~right).sum()), int((right & ~other_right).sum())
    p = sign_test(better, worse)
    return Comparison(other, len(right), float(right.mean()), float(other_right.mean()), better, worse, p)


def sign_test(a: int, b: int) -> float:
    """The exact two-sided p-value of a and b, were both as likely."""
    n, least = a + b, min(a, b)
    tail = sum(comb(n, k) for k in range(least + 1))
    return min(1.0, float(2 * tail / 2**n))
