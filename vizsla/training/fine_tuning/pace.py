"""How many steps a training has: those that were planned, or fewer where the machine turns out slower.

What a step takes is measured before a training is planned. Other programs may come meanwhile, and a training that is
then cut off while its learning rate is high has gained nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

_LOOKS_AN_EPOCH = 4
_RESERVE = 0.02
"""Of the time from the first look on, what stays free: steps after the last look may take longer, and a training that
is cut off loses the epoch that it is in."""
_SHORT = 0.95
"""Of the steps that were planned, below which a person is told."""


@dataclass
class Pace:
    """Steps, their end in time, and how far a training has come on its way from 0 to 1.

    Parameters
    ----------
    planned:
        Steps.
    per_epoch:
        Steps.
    end:
        Seconds since 1970; None: as long as it takes.
    note:
        Told in words when the steps do not fit.
    """

    planned: int
    per_epoch: int
    end: float | None = None
    note: Callable[[str], None] = lambda text: None
    total: int = 0
    """Steps as they are planned now: at most as many as at first."""
    changed_at: int = 0
    share_then: float = 0.0
    """Where the number was changed last, and how far the training was then."""
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_LOOKS_AN_EPOCH + 1))
    _began: float | None = None
    _evaluation: float = 0.0
    _told: bool = False

    def __post_init__(self) -> None:
        self.total = self.total or self.planned

    def share(self, step: int) -> float:
        """How far the training is before a step, 0 to 1: the learning rate follows from it."""
        return self.share_then + (1 - self.share_then) * (step - self.changed_at) / max(1, self.total - self.changed_at)

    def evaluated(self, seconds: float) -> None:
        """An evaluation took so long."""
        self._evaluation = seconds
        self._looks = deque(((at + seconds, step) for at, step in self._looks), self._looks.maxlen)

    def fitting(self, step: int, now: float | None = None) -> int:
        """The steps in all that the time holds at the speed of the last epoch, looked at some times an epoch."""
        if self.end is None or step % max(1, self.per_epoch // _LOOKS_AN_EPOCH):
            return self.total
        now = time.time() if now is None else now
        self._began = now if self._began is None else self._began
        end = self.end - _RESERVE * (self.end - self._began)
        self._looks.append((now, step))
        began, first = self._looks[0]
        if step == first:
            return self.total
        each = (now - began) / (step - first) + self._evaluation / self.per_epoch
        more = int((end - now - self._evaluation) / max(each, 1e-9))
        return min(self.planned, step + max(0, more))

    def change(self, step: int, total: int) -> None:
        """Have so many steps from now on."""
        if total == self.total:
            return
        self.changed_at, self.share_then, self.total = step, self.share(step), total
        if total < _SHORT * self.planned and not self._told:
            self._told = True
            self.note(
                f"The machine is slower than it was measured: there is time for {total / self.per_epoch:.1f} epochs "
                f"instead of {self.planned / self.per_epoch:.0f}. The learning rate falls sooner."
            )
