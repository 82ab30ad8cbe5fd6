"""The page of explanations."""

from __future__ import annotations

import numpy as np

from vizsla.evaluation.explanation.explanation import Explanation
from vizsla.evaluation.explanation.faithfulness import Faithfulness
from vizsla.reports.explanation import page


def explained(height: int, width: int) -> Explanation:
    segments = np.zeros((height, width), np.uint16)
    segments[:, width // 2 :] = 1
    return Explanation(
        image=f"{height}x{width}.jpg",
        label="rose",
        predicted="rose",
        probability=0.75,
        method="kernel_shap",
        pixels=np.full((height, width, 3), 128, np.uint8),
        evidence=np.ones((height, width)),
        box=(0, 0, 1, 1),
        begins=0.5,
        ends=0.75,
        faithfulness=FAITHFULNESS,
        values=(0.2, 0.05),
        segments=segments,
        samples=20,
        nearest=(),
    )


FAITHFULNESS = Faithfulness(0.1, 0.9, 0.5, 0.5)


def test_pictures_of_several_sizes_are_summed_up() -> None:
    """A model of its own code sees pictures as they are sent."""
    told = page("why", "2026-11-30", "mine", [explained(40, 60), explained(60, 40), explained(48, 48)], {}, [])
    assert "60x40.jpg" in told
