"""Whether a training has gained anything, told by the validation pictures."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from vizsla.training.temperature import best_temperature, losses


@dataclass(frozen=True)
class Gain:
    """What fine-tuning changed on the validation pictures: the mean of the losses' differences, picture by picture,
    each answer at its best temperature, with its standard error; and the share that is right, before and after.
    ``among`` is of how many trainings these pictures chose this one."""

    loss: float
    error: float
    before: float
    after: float
    among: int = 1

    @classmethod
    def of(
        cls,
        before: npt.NDArray[np.float32],
        after: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int32],
        among: int = 1,
    ) -> Gain:
        """From logits (n, classes) before and after."""
        own = [losses(logits, labels, best_temperature(logits, labels)) for logits in (before, after)]
        difference = own[1] - own[0]
        error = float(difference.std(ddof=1) / np.sqrt(len(labels))) if len(labels) > 1 else float("inf")
        right = [float((logits.argmax(axis=1) == labels).mean()) for logits in (before, after)]
        return cls(float(difference.mean()), error, right[0], right[1], among)

    @property
    def kept(self) -> bool:
        """Whether the loss fell by more than a standard error: what was trained answers as quickly as what was not. Of
        several trainings the best falls by chance, too: by more than is as likely as that of one."""
        return self.loss < -self.error * NormalDist().inv_cdf(NormalDist().cdf(1) ** (1 / self.among))

    @property
    def words(self) -> str:
        """For a person."""
        low, high = self.loss - 2 * self.error, self.loss + 2 * self.error
        change = (
            f"of the validation pictures {100 * self.before:.1f} % were right before, {100 * self.after:.1f} % are "
            f"after; the loss changed by {self.loss:+.3f} nats (95 %: {low:+.3f} to {high:+.3f})"
        )
        if self.kept:
            return f"{change}."
        verdict = "That is worse" if low > 0 else "That may be chance"
        return f"{change}. {verdict}: what was before is kept."
