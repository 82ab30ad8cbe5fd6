"""When a search ends."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord

SAME_FAILURES = 3
"""Trials that fail before any succeeds, after which the search gives up."""


@dataclass(frozen=True)
class SearchLimits:
    """When to stop.

    ``trials`` trials in all, at most ``max_parallel`` at a time (None: as many as the machine holds);
    ``minutes`` for the whole search; ``target``, a value of the objective that is good enough; ``patience``,
    the number of trials in a row without a better one.

    Raises
    ------
    UsageError
        When one leaves no trial.
    """

    trials: int = 20
    max_parallel: int | None = None
    minutes: float | None = None
    target: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (
            ("trials", self.trials, 1),
            ("max_parallel", self.max_parallel, 1),
            ("patience", self.patience, 1),
        ):
            if value is not None and value < least:
                raise UsageError(f"{name}={value!r} leaves no trial.", parameter=name, allowed="a whole number above 0")
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(
                f"minutes={self.minutes!r} leaves no time.",
                parameter="minutes",
                allowed="a number above 0",
            )
        if self.target is not None and not math.isfinite(self.target):
            raise UsageError(f"target={self.target!r} is no target.", parameter="target", allowed="a number")

    @property
    def time_is_over(self) -> str:
        """What is said when it is."""
        return f"{self.minutes:g} minutes are over" if self.minutes else "the time is over"

    def reached(
        self, trials: Sequence[TrialRecord], objective: Objective, deadline: float | None, before: int = 0
    ) -> str | None:
        """Why no further trial should start, in words; None while the search goes on.

        ``deadline`` is a moment of ``time.monotonic()``; ``before`` of the trials are earlier searches'.
        """
        if deadline is not None and time.monotonic() >= deadline:
            return self.time_is_over
        ended = [t for t in trials if t.ended]
        best, since = None, 0
        for trial in sorted(ended, key=lambda t: (t.end or 0.0, t.number)):
            if trial.complete and (best is None or objective.better(trial.value, best)):
                best, since = trial.value, 0
            else:
                since += 1
        if self.target is not None and best is not None and not objective.better(self.target, best):
            return f"the target {self.target:g} was reached"
        if self.patience is not None and since >= self.patience:
            return f"{since} trials in a row brought nothing better"
        if before >= self.trials:
            return (
                f"the study holds {before} trials of earlier searches, which count: nothing was run; "
                f"{spelled('trials', before + self.trials)} runs {self.trials} more"
            )
        if len(trials) >= self.trials:
            all_trials = "the one trial was" if self.trials == 1 else f"all {self.trials} trials were"
            return f"{all_trials} started" + (f", {before} by earlier searches" if before else "")
        return None
