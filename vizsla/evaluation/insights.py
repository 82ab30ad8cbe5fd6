"""What an evaluation says beyond its headline: where the model is weak, how sure it may be, what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vizsla.evaluation.abstention import Threshold, reaching, thresholds
from vizsla.evaluation.comparison import Comparison
from vizsla.evaluation.novelty import Novelty
from vizsla.evaluation.predictions import Predictions
from vizsla.evaluation.slices import WeakSlice
from vizsla.evaluation.what_if import Calibration, LearningCurve, WhatIf

TARGETS = (0.95, 0.99)


@dataclass(frozen=True)
class Balance:
    """Pictures of each class in one split: ``counts`` by class, the largest over the smallest, and how many classes of
    equal size would be as even (the exponential of the entropy of their shares)."""

    split: str
    counts: tuple[int, ...]
    ratio: float | None
    effective: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        ratio = None if self.ratio is None else round(self.ratio, 3)
        return {"split": self.split, "counts": list(self.counts), "ratio": ratio, "effective": round(self.effective, 3)}


@dataclass(frozen=True)
class Insights:
    """All of it, for the pictures of ``measured``. What needs the training pictures is None without them.

    ``looked_at`` counts the slices among which the weak ones were found; ``suspects`` are rows whose label is not
    believed, the surest first.
    """

    measured: Predictions
    slices: tuple[WeakSlice, ...]
    looked_at: int
    suspects: tuple[int, ...]
    balance: tuple[Balance, ...]
    novelty: Novelty | None = None
    calibration: Calibration | None = None
    curve: LearningCurve | None = None
    what_ifs: tuple[WhatIf, ...] = ()
    comparison: Comparison | None = None

    @property
    def thresholds(self) -> list[Threshold]:
        """Coverage against accuracy."""
        return thresholds(self.measured.confidence, self.measured.right)

    @property
    def reaching(self) -> dict[float, Threshold | None]:
        """For each accuracy that may be wanted, the threshold that reaches it."""
        return {t: reaching(self.measured.confidence, self.measured.right, t) for t in TARGETS}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        m, novelty = self.measured, self.novelty
        mistakes = [
            {
                "path": m.paths[row],
                "truth": m.classes[m.labels[row]],
                "predicted": m.classes[m.predicted[row]],
                "probability": round(float(m.confidence[row]), 6),
            }
            for row in m.surest_mistakes(len(m.paths)).tolist()
        ]
        return {
            "slices": [one.to_dict() for one in self.slices],
            "slices_looked_at": self.looked_at,
            "surest_mistakes": mistakes[:100],
            "abstain": [one.to_dict() for one in self.thresholds],
            "abstain_for": {str(t): None if one is None else one.to_dict() for t, one in self.reaching.items()},
            "label_suspects": [
                {"path": m.paths[row], "label": m.classes[m.labels[row]], "looks_like": m.classes[m.predicted[row]]}
                for row in self.suspects
            ],
            "class_balance": [one.to_dict() for one in self.balance],
            "unlike_training": None
            if novelty is None
            else {
                "share": round(novelty.share, 6),
                "usual_share": 0.01,
                "pictures": [m.paths[row] for row in novelty.rows.tolist()],
            },
            "calibration": self.calibration and self.calibration.to_dict(),
            "learning_curve": self.curve and self.curve.to_dict(),
            "what_if": [one.to_dict() for one in self.what_ifs],
            "comparison": self.comparison and self.comparison.to_dict(),
        }
