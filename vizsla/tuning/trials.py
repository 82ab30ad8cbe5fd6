"""A trial as a plain record: what tables, pages and doors show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from vizsla.tuning.objective import Objective
from vizsla.tuning.space import Value

TrialStatus = Literal["InProgress", "Completed", "Stopped", "Failed"]
"""SageMaker's words: ``Stopped`` is a trial that was pruned or cut off by a limit."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial. Times are seconds since 1970."""

    number: int
    name: str
    """SageMaker's TrainingJobName; of a script's trial also the name of its job."""
    params: dict[str, Value]
    """The searched parameters only."""
    status: TrialStatus
    value: float | None = None
    """The objective's final value."""
    curve: tuple[float, ...] = ()
    """The objective after each epoch, as far as it was reported."""
    start: float | None = None
    end: float | None = None
    reason: str | None = None
    """Why it failed or was stopped."""
    cost: float | None = None
    """What one such training costs, for comparison: pictures trained on, or seconds for a script."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Other final values."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status != "InProgress"

    @property
    def complete(self) -> bool:
        """Whether it ended with a value that counts."""
        return self.status == "Completed" and self.value is not None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return None if self.start is None or self.end is None else self.end - self.start

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, in the field names of SageMaker's TrainingJobSummaries."""
        return {
            "TrainingJobName": self.name,
            "TrainingJobStatus": self.status,
            "TunedHyperParameters": self.params,
            "FinalObjectiveValue": self.value,
            "TrainingStartTime": iso(self.start),
            "TrainingEndTime": iso(self.end),
            "TrainingElapsedTimeSeconds": None if self.seconds is None else round(self.seconds, 3),
            "ObjectiveCurve": list(self.curve),
            "FailureReason": self.reason,
            "Metrics": self.metrics,
        }


def best(trials: Sequence[TrialRecord], objective: Objective) -> TrialRecord | None:
    """The completed trial with the best value; of equal ones the first."""
    complete = ranked(trials, objective)
    return complete[0] if complete else None


def ranked(trials: Sequence[TrialRecord], objective: Objective) -> list[TrialRecord]:
    """The completed trials, the best first."""
    complete = [t for t in trials if t.complete]
    return sorted(complete, key=lambda t: (objective.cost(t.value or 0.0), t.number))


def common_failure(trials: Sequence[TrialRecord]) -> tuple[TrialRecord, str]:
    """Of the trials that failed, of which there is one at least: one with the most frequent reason, and the words."""
    failed = [t for t in trials if t.status == "Failed"]
    reason, count = Counter(t.reason or "no reason was given" for t in failed).most_common(1)[0]
    example = next(t for t in failed if (t.reason or "no reason was given") == reason)
    return example, f"{count} of them because: {reason}"


def iso(moment: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
