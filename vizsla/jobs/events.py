"""What is told of jobs while they run: changes of state, values of metrics, text of the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.growing import read_lines_after, read_metrics_after, size
from vizsla.jobs.log_reader import LogPosition, end_of, near_the_end, read_log_after
from vizsla.jobs.metrics import Metric
from vizsla.jobs.states import State


@dataclass(frozen=True)
class Handle:
    """One submitted job: its name, and its directory on this machine."""

    name: str
    path: Path

    @classmethod
    def of(cls, job: JobDirectory) -> Handle:
        """The handle of a job's directory."""
        return cls(job.name, job.path)


@dataclass(frozen=True)
class StatusEvent:
    """The job's state is another than before."""

    job: str
    state: State


@dataclass(frozen=True)
class MetricEvent:
    """A value was written; events of one job come in the order of writing, before the status that ends it."""

    job: str
    metric: Metric


@dataclass(frozen=True)
class LogEvent:
    """The log grew."""

    job: str
    text: str


@dataclass(frozen=True)
class FindingEvent:
    """A rule of the debugger or the profiler spoke: a line of ``output/findings.jsonl``."""

    job: str
    finding: dict[str, Any]

    @property
    def words(self) -> str:
        """For a terminal."""
        step, fix = self.finding.get("step", 0), self.finding.get("fix")
        return (
            f"{self.finding['severity']}: {self.finding['rule']}, step {step:,}: {self.finding['message']} Do: {fix}."
        )


Event = StatusEvent | MetricEvent | LogEvent | FindingEvent

Cursor = str
"""How far something was told. Opaque: only the executor that gave it can read it."""
NOW: Cursor = "now"
"""The cursor of whoever wants to be told only what happens from now on."""


@dataclass(frozen=True)
class Poll:
    """The new events, and where the next poll goes on."""

    events: tuple[Event, ...]
    since: Cursor


@dataclass(frozen=True)
class Place:
    """How far one job was told."""

    updated: str | None = None
    """When its last told state was written."""
    metrics: int = 0
    """Bytes of ``metrics.jsonl``."""
    log: LogPosition = field(default_factory=LogPosition)
    findings: int = 0
    """Bytes of ``output/findings.jsonl``."""

    @classmethod
    def read(cls, value: Any) -> Place:
        """From the JSON form of its tuple; the beginning where there is none."""
        return cls() if value is None else cls(value[0], value[1], LogPosition(*value[2]), *value[3:])


def end(job: Path) -> Place:
    """Behind all that a job has written by now."""
    findings = size(job / "output" / "findings.jsonl")
    return Place(None, size(job / "metrics.jsonl"), end_of(job / "logs.txt", job / ".run"), findings)


def events_after(handle: Handle, state: State, place: Place) -> tuple[list[Event], Place]:
    """What a job has written after ``place``, and its ``state``, which was read before, so that an end comes last."""
    log, run = handle.path / "logs.txt", handle.path / ".run"
    events: list[Event] = []
    metrics_at, log_at = place.metrics, place.log
    reading = state.status != "Pending"
    while reading:
        metrics, at = read_metrics_after(handle.path / "metrics.jsonl", metrics_at)
        events += [MetricEvent(handle.name, metric) for metric in metrics]
        reading, metrics_at = state.has_ended and at > metrics_at, at
    reading = state.status != "Pending"
    while reading:
        left_out, log_at = near_the_end(log, run, log_at)
        text, log_at = read_log_after(log, run, log_at)
        events += [LogEvent(handle.name, left_out + text)] if text else []
        reading = state.has_ended and bool(text)
    lines, findings_at = read_lines_after(handle.path / "output" / "findings.jsonl", place.findings)
    events += [FindingEvent(handle.name, line) for line in lines if line.get("source") in ("debugger", "profiler")]
    if state.updated != place.updated:
        events.append(StatusEvent(handle.name, state))
    return events, Place(state.updated, metrics_at, log_at, findings_at)
