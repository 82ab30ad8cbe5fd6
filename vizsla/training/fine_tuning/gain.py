"""Whether a training has gained anything, told by the validation pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.training.temperature import best_temperature, losses


@dataclass(frozen=True)
class Gain:
    """What fine-tuning changed on the validation pictures: the mean of the losses' differences, picture by picture,
    each answer at its best temperature, with its standard error; and the share that is right, before and after."""

    loss: float
    error: float
    before: float
    after: float

    @classmethod
    def of(cls, before: npt.NDArray[np.float32], after: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]) -> Gain:
        """From logits (n, classes) before and after."""
        own = [losses(logits, labels, best_temperature(logits, labels)) for logits in (before, after)]
        difference = own[1] - own[0]
        error = float(difference.std(ddof=1) / np.sqrt(len(labels))) if len(labels) > 1 else float("inf")
        right = [float((logits.argmax(axis=1) == labels).mean()) for logits in (before, after)]
        return cls(float(difference.mean()), error, *right)

    @property
    def beyond_chance(self) -> bool:
        """Whether the loss fell by more than two standard errors."""
        return self.loss < -2 * self.error

    @property
    def words(self) -> str:
        """For a person."""
        change = (
            f"right before fine-tuning {100 * self.before:.1f} %, after it {100 * self.after:.1f} %; loss "
            f"{self.loss:+.3f} nats, give or take {2 * self.error:.3f}"
        )
        if self.beyond_chance:
            return f"On the validation pictures: {change}."
        return f"On the validation pictures: {change}. That may be chance: what was before is kept."
