"""Better on the training pictures than on others, and more so with time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn

_RISE = 1.1
_LEARNED = 0.1
_GAP = 0.35


@dataclass
class Overfit(BuiltIn):
    """Compares passes over the validation pictures with the training losses since the pass before. Fires where the
    validation loss has risen by a tenth over its lowest in ``patience`` + 1 passes while the training loss still fell,
    or where the training loss is all but 0 (a tenth of guessing) and the validation loss is not (over 45 % of it).

    AWS's: where (validation - training) / training exceeds ``ratio_threshold`` for ``patience`` steps.
    """

    start_step: int = 0
    patience: int = 1
    ratio_threshold: float = 0.1
    tensor_regex: str | None = None
    _train: list[float] = field(default_factory=list, init=False, repr=False)
    _seen: int = field(default=0, init=False, repr=False)
    _position: int = field(default=0, init=False, repr=False)
    _strikes: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "overfit"
    aws: ClassVar[str | None] = "Overfit"
    only_aws: ClassVar[frozenset[str]] = frozenset({"ratio_threshold"})
    without_effect: ClassVar[frozenset[str]] = frozenset({"tensor_regex"})
    fix: ClassVar[str] = (
        "keep the best epoch, and train with more pictures, augmentation, weight decay or a frozen backbone"
    )
    why: ClassVar[str] = "what it learns now is true of the training pictures alone"

    def _new_pass(self, history: History) -> bool:
        if len(history.passes) == self._seen:
            return False
        self._seen = len(history.passes)
        losses = history.losses
        before = [v for s, v in zip(losses.steps, losses.values, strict=True) if s < history.passes[-1].step]
        part, self._position = before[self._position :], len(before)
        self._train.append(float(np.mean(part)) if part else (self._train[-1] if self._train else np.nan))
        return True

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        summed = (history.facts.get("loss") or {}).get("reduction") == "sum"  # over batches of unlike sizes
        if not self._new_pass(history) or history.step < self.start_step or summed:
            return
        valid = [p.loss for p in history.passes]
        train, now = self._train[-1], valid[-1]
        best = int(np.argmin(valid))
        after = len(valid) - 1 - best
        scale = history.chance or valid[0]
        rises = after > self.patience and min(valid[-1 - self.patience :]) > _RISE * valid[best]
        rises = rises and train < self._train[best] and train < 0.7 * now and now > 0.2 * scale
        closed = train < _LEARNED * scale and now - train > _GAP * scale and len(valid) > self.patience
        if rises or closed:
            yield self.found(
                history,
                f"The training loss is {train:.3g} and the validation loss {now:.3g}"
                + (f", after {valid[best]:.3g} {after} passes before." if after else "."),
                train=train,
                value=now,
                best=valid[best],
                threshold=_RISE * valid[best] if rises else _GAP * scale + train,
                n=len(valid),
            )

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        return self.look(history)

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        if not self._new_pass(history) or history.step < self.start_step:
            return
        train, valid = self._train[-1], history.passes[-1].loss
        ratio = (valid - train) / train if train else np.inf
        self._strikes = self._strikes + 1 if ratio > self.ratio_threshold else 0
        if self._strikes >= self.patience:
            yield self.found(
                history,
                f"(validation - training) / training is {ratio:.3g}.",
                value=float(ratio),
                threshold=self.ratio_threshold,
                n=self._strikes,
            )


RULE = Overfit
