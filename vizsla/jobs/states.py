"""The states of a job and which may follow which."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from vizsla.errors import JobError
from vizsla.files import write_json

Status = Literal["Pending", "InProgress", "Completed", "Failed", "Stopping", "Stopped"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: frozenset[str] = frozenset({"Completed", "Failed", "Stopped"})

_NEXT: dict[Status, frozenset[str]] = {
    "Pending": frozenset({"InProgress", "Stopping", "Stopped", "Failed"}),
    "InProgress": frozenset({"Completed", "Failed", "Stopping", "Stopped"}),
    "Stopping": frozenset({"Completed", "Failed", "Stopped"}),
    "Failed": frozenset({"Pending", "InProgress"}),
    "Stopped": frozenset({"Pending", "InProgress"}),
    "Completed": frozenset(),
}
"""A failed or stopped job may be started again; a completed one is finished for good."""


def now() -> str:
    """The time in UTC, as ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class State:
    """What ``state.json`` holds. Times are UTC, ISO 8601."""

    status: Status
    created: str
    updated: str
    started: str | None = None
    """When this attempt began to run."""
    ended: str | None = None
    reason: str | None = None
    """Why it failed or was stopped, in words."""
    attempts: int = 0
    """How often it was started."""
    pid: int | None = None
    """While it runs: the process that stands for this attempt (its supervisor, or the process it runs in)."""
    pid_started: float | None = None
    """The start of that process, so that a number given out again is not taken for it."""
    exit_code: int | None = None
    """What the process ended with; negative: the number of the signal."""
    missing_metrics: dict[str, str | None] = field(default_factory=dict)
    """Metrics that were defined and have no value: what was found in the place of a number, None where nothing was."""

    @classmethod
    def first(cls) -> State:
        """The state of a job that was just made."""
        time = now()
        return cls(status="Pending", created=time, updated=time)

    @property
    def ended_well(self) -> bool:
        """Whether the job is Completed."""
        return self.status == "Completed"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status in ENDED

    def then(self, status: Status, reason: str | None = None, **facts: Any) -> State:
        """The state that follows, with its times.

        Raises
        ------
        JobError
            When ``status`` may not follow this one.
        """
        if status != self.status and status not in _NEXT[self.status]:
            raise JobError(
                f"A job that is {self.status} cannot become {status}.",
                allowed=", ".join(sorted(_NEXT[self.status])) or "nothing: it is finished",
                do="start a new job",
            )
        time = now()
        changes: dict[str, Any] = {"status": status, "reason": reason, "updated": time}
        if status == "InProgress" and self.status != "InProgress":
            changes.update(started=time, ended=None, exit_code=None, missing_metrics={}, attempts=self.attempts + 1)
        if status == "Pending":
            changes.update(ended=None, exit_code=None)
        if status in ENDED and not self.has_ended:
            changes.update(ended=time, pid=None, pid_started=None)
        return replace(self, **(changes | facts))


def read_state(path: Path) -> State:
    """Read ``state.json``.

    Raises
    ------
    JobError
        When it is missing or is not a job's state.
    """
    try:
        with open(path, "rb") as file:
            fields = json.load(file)
        values = {name: fields[name] for name in State.__dataclass_fields__ if name in fields}
        state = State(**values)
        if state.status not in STATUSES:
            raise ValueError(f"unknown status {state.status!r}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        if not path.parent.exists():
            raise JobError(f"Job {path.parent.name!r} was just removed.", where=path.parent) from error
        raise JobError(
            f"The state of a job cannot be read: {error}.",
            where=path,
            do="the folder is not a job of vizsla, or was damaged by hand; remove it or restore state.json",
        ) from error
    return state


def write_state(path: Path, state: State) -> None:
    """Replace ``state.json`` in one step."""
    write_json(path, asdict(state))
