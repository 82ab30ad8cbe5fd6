"""What an executor is: the five verbs, and the events it tells of.

The life of a job: :meth:`Executor.submit` makes its directory and returns a handle; it is Pending until there is
room, then InProgress. :meth:`Executor.poll` tells what happened since the last time and gives waiting jobs their
turn, so call it regularly. :meth:`Executor.stop` asks a job to end. A new executor is proven by the suite in
``tests/jobs/conformance``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vizsla.jobs.log_reader import LogPosition
from vizsla.jobs.metrics import Metric
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State


@dataclass(frozen=True)
class Handle:
    """One submitted job: its name, and its directory on this machine."""

    name: str
    path: Path


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
class HeartbeatEvent:
    """The job was seen running, now."""

    job: str
    time: float


Event = StatusEvent | MetricEvent | LogEvent | HeartbeatEvent


@dataclass(frozen=True)
class Position:
    """How far the events of one job were told."""

    metrics: int = 0
    """Bytes of ``metrics.jsonl``."""
    log: LogPosition = field(default_factory=LogPosition)
    updated: str | None = None
    """When its last known state was written."""


Since = Mapping[str, Position]
"""By job name; pass on what the last poll returned."""


@dataclass(frozen=True)
class Poll:
    """The new events, and where the next poll goes on."""

    events: tuple[Event, ...]
    since: Since = field(default_factory=dict)


@dataclass(frozen=True)
class Capacity:
    """What the executor has and what is free now."""

    cpus: int
    gpus: int
    free_cpus: int
    free_gpus: int
    waiting: int
    """Jobs that wait for room."""


GRACE_SECONDS = 30.0
"""Between the request to end (SIGTERM) and the end (SIGKILL), where nobody says otherwise."""


class Executor(Protocol):
    """Runs jobs."""

    def submit(
        self, spec: TrainingJobSpec, base_name: str, *, kind: str = "train", about: Mapping[str, Any] | None = None
    ) -> Handle:
        """Make a job and let it run as soon as there is room.

        Parameters
        ----------
        spec:
            What to run; its ``TrainingJobName``, where given, is the job's name.
        base_name:
            What the job is about, for the name that is made otherwise.
        about:
            Facts kept in ``job.json``, such as ``{"parent": "tune-..."}``.

        Raises
        ------
        VizslaError
            For a request that cannot run here, or a name that exists; nothing is left behind.
        """
        ...

    def poll(self, handles: Sequence[Handle], since: Since | None = None) -> Poll:
        """What happened to ``handles`` after ``since``. Returns at once."""
        ...

    def stop(self, handle: Handle, grace: float = 30.0, reason: str | None = None) -> None:
        """Ask a job to end: SIGTERM, and SIGKILL after ``grace`` seconds. Returns at once."""
        ...

    def capacity(self) -> Capacity:
        """What there is and what is free."""
        ...

    def fetch(self, handle: Handle, path: str) -> Path:
        """A file or folder of the job, such as ``output/model.tar.gz``, as a local path.

        Raises
        ------
        JobError
            When the job has no such file, or the path leads out of it.
        """
        ...
