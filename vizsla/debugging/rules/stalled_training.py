"""A training that has come to a standstill."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity

_TIMES, _LEAST = 50, 600.0


@dataclass
class StalledTraining(BuiltIn):
    """Fires where a job that runs has recorded nothing for ``threshold`` seconds, or for 50 times what its steps take
    and at least ten minutes. A ``threshold`` that is named counts alone. ``look_at`` is asked by whoever watches the
    job."""

    threshold: float = 1800.0
    stop_training_on_fire: bool = False
    training_job_name_prefix: str | None = None

    name: ClassVar[str] = "stalled_training"
    aws: ClassVar[str | None] = "StalledTrainingRule"
    without_effect: ClassVar[frozenset[str]] = frozenset({"training_job_name_prefix"})
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "look at what the process waits for (py-spy shows it): a data loader, a disk, a network"
    why: ClassVar[str] = "the machine is held and nothing is learned"

    def look_at(self, history: History, now: float | None = None) -> Iterable[RuleFinding | None]:
        """The same at a moment, in seconds since 1970, at which nothing new came."""
        moments = [row.time for row in history.by_name["training"]][-20:]
        moment = time.time() if now is None else now
        bound = self.threshold
        losses = [row.time for rows in history.rows["losses"].values() for row in rows][-50:]
        if len(losses) > 10 and bound == StalledTraining.threshold:
            bound = min(bound, max(_LEAST, _TIMES * float(np.median(np.diff(losses)))))
        quiet = moment - max([history.time, *moments])
        if history.steps_seen and quiet > bound:
            yield self.found(
                history, f"Nothing was recorded for {quiet:.0f} seconds.", value=quiet, threshold=bound, n=len(losses)
            )


RULE = StalledTraining
