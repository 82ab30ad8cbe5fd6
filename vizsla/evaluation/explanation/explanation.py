"""What is said of one picture, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.explanation.faithfulness import Faithfulness

Method = Literal["cam", "kernel_shap"]
METHODS = ("cam", "kernel_shap")

Pixels = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """One picture explained.

    ``pixels`` is what the model saw (size, size, 3), ``evidence`` the map of any size (h, w), positive where a place
    speaks for ``label``; ``box`` the part of the upright picture that was seen, as fractions (left, top, right,
    bottom). ``begins`` and ``ends`` are what the evidence leads from and to: of ``cam`` the head's bias and the logit,
    of ``kernel_shap`` the probability of the baseline and of the picture. ``nearest`` are training pictures: path,
    class and cosine.
    """

    image: str
    label: str
    predicted: str
    probability: float
    method: Method
    pixels: Pixels
    evidence: Doubles
    box: tuple[float, float, float, float]
    begins: float
    ends: float
    faithfulness: Faithfulness
    values: tuple[float, ...]
    """Of ``kernel_shap``: what each segment adds."""
    segments: npt.NDArray[np.uint16] | None
    """Of ``kernel_shap``: which segment each pixel is of, (size, size)."""
    samples: int
    nearest: tuple[tuple[Path, str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; of Kernel SHAP one number a segment, whose place the picture in ``maps/`` shows."""
        cam = self.method == "cam"
        return {
            "image": self.image,
            "label": self.label,
            "predicted": self.predicted,
            "probability": self.probability,
            "method": self.method,
            "box": list(self.box),
            **(
                {"class_activation_map": self.evidence.tolist()}
                if cam
                else {"segments": len(self.values), "values": list(self.values)}
            ),
            **({"bias": self.begins, "logit": self.ends} if cam else {"baseline": self.begins, "answer": self.ends}),
            "samples": self.samples,
            "faithfulness": self.faithfulness.to_dict(),
            "nearest": [{"path": str(path), "label": label, "cosine": cosine} for path, label, cosine in self.nearest],
        }
