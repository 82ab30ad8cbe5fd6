"""A loss that is a sum over the batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import TRAINS, History
from vizsla.debugging.rules.base import BuiltIn

_DIVIDED = 2.0
"""Gradient at the loss, times the pictures of a batch: about 1 where the sum is divided by their number."""


@dataclass
class SummedLoss(BuiltIn):
    """Fires where the loss was made with ``reduction="sum"`` and is not divided before its backward pass, or, where
    that is not seen, where the first loss is over ``share`` of the batch's size times that of guessing."""

    share: float = 0.4
    _judged: bool = field(default=False, init=False, repr=False)

    name: ClassVar[str] = "summed_loss"
    fix: ClassVar[str] = 'use reduction="mean", or divide by the size of the batch'
    why: ClassVar[str] = "the learning rate then depends on the size of the batch, and is this many times too high"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        if self._judged or history.mode not in TRAINS or len(history.losses) < 2:
            return
        self._judged = True
        batch, chance, first = history.batch, history.chance, history.losses.values[0]
        reduction = (history.facts.get("loss") or {}).get("reduction")
        if not batch or batch < 8 or not chance:
            return
        gradients = history.by_name["loss_gradient"]
        if gradients and 0 < gradients[-1].mean * batch < _DIVIDED:
            return
        is_large = reduction is None and first > self.share * batch * chance
        if (reduction == "sum" and first > 2 * chance) or is_large:
            yield self.found(
                history,
                f"The first loss is {first:.4g}, over a batch of {batch}; that of guessing is {chance:.3g} a picture.",
                value=first,
                threshold=self.share * batch * chance,
                confidence="high" if reduction == "sum" else "medium",
                n=batch,
            )


RULE = SummedLoss
