"""The answer that needs no model: always the class that training saw most."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.intervals import wilson


@dataclass(frozen=True)
class ConstantAnswer:
    """How "always ``label``" does on the pictures that a model was measured on.

    ``accuracy`` is its share of right answers; on ``better`` pictures the model is right and it is not, on ``worse``
    it is right and the model is not.
    """

    label: str
    accuracy: float
    better: int
    worse: int

    @property
    def beaten(self) -> bool:
        """Whether the model is better by more than chance explains: of the pictures on which the two differ, it is
        right on more than half, Wilson's 95 % interval considered (McNemar 1947 asks the same)."""
        return wilson(self.better, self.better + self.worse)[0] > 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"accuracy": round(self.accuracy, 6), "beaten": self.beaten}


def constant_answer(
    predicted: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], label: int, name: str
) -> ConstantAnswer:
    """Compare predictions (n,) with always saying ``label``, whose name is ``name``."""
    right, constant = predicted == labels, labels == label
    return ConstantAnswer(name, float(constant.mean()), int((right & ~constant).sum()), int((constant & ~right).sum()))
