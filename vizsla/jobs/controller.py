"""Jobs as a person meets them: found by name, listed, followed to the end, each by the executor that it names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import check_folder
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Cursor, Event, Handle, StatusEvent
from vizsla.jobs.executors import open_executor
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import GRACE_SECONDS
from vizsla.jobs.home import bucket_home
from vizsla.jobs.states import State

UNREADABLE = "Unreadable"
"""Stands for the state of a job whose files are damaged."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
_PAUSE_SHARE = 0.02
"""A poll comes after this share of the time a job has run: its end is seen soon, and waiting costs nothing."""


def find(name: str, home: Path, *, damaged: bool = False) -> JobDirectory:
    """The job of this name under ``home``, or at this path; its state is brought up to date.

    What has a separator in it is a path and nothing else: a wrong one never means a job of the same name elsewhere.
    ``damaged`` also finds one whose files cannot be read.

    Raises
    ------
    JobError
        When there is none.
    """
    path = Path(name)
    is_path = path.name != name or (path / "job.json").is_file()
    folder = path if is_path else home / name
    if (bucket := bucket_home(folder.parent)) is not None:
        bucket.refresh(folder.name)
    if damaged and (folder / "job.json").exists():
        return JobDirectory(folder.absolute())
    job = JobDirectory.open(folder)
    executor_of(job).state(Handle.of(job))
    return job


@dataclass(frozen=True)
class Summary:
    """One line of a list of jobs. ``problem`` says why a job cannot be read."""

    name: str
    kind: str
    status: str
    created: str
    started: str | None = None
    ended: str | None = None
    reason: str | None = None
    parent: str | None = None
    problem: str | None = None

    @property
    def seconds(self) -> float | None:
        """How long it ran, or runs by now."""
        if self.started is None:
            return None
        began = datetime.fromisoformat(self.started)
        until = datetime.now(began.tzinfo) if self.ended is None else datetime.fromisoformat(self.ended)
        return round((until - began).total_seconds(), 3)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v for k, v in fields.items() if v is not None} | {"seconds": self.seconds}


def summaries(home: Path) -> Iterator[Summary]:
    """The jobs under ``home``, the newest last. A folder that is not a job is passed over.

    Raises
    ------
    StorageError
        When ``home`` is a file, or a link to nothing.
    """
    check_folder(home)
    if (bucket := bucket_home(home)) is not None:
        bucket.refresh_all()
    rows = []
    if home.is_dir():
        for entry in os.scandir(home):
            if not entry.name.startswith(".") and entry.is_dir():
                summary = _summary(JobDirectory(Path(entry.path)))
                if summary is not None:
                    rows.append(summary)
    yield from sorted(rows, key=lambda summary: (summary.created, summary.name))


def _summary(job: JobDirectory) -> Summary | None:
    if not (job.path / "job.json").exists():
        return None
    try:
        parent, state = job.parent, job.state
        if not state.has_ended:
            state = executor_of(job).state(Handle.of(job))
    except JobError as error:
        return Summary(job.name, "?", UNREADABLE, "", problem=str(error))
    except Exception as error:  # noqa: BLE001 - one odd directory must not hide all the others
        return Summary(job.name, "?", UNREADABLE, "", problem=f"{type(error).__name__}: {error}")
    return Summary(
        name=job.name,
        kind=job.kind,
        status=state.status,
        created=state.created,
        started=state.started,
        ended=state.ended,
        reason=state.reason,
        parent=parent,
    )


def follow(
    executor: Executor,
    handle: Handle,
    on_event: Callable[[Event], None] = lambda event: None,
    since: Cursor | None = None,
) -> State:
    """Poll a job until it has ended, and hand on what happens after ``since``. Ctrl-C stops it and waits for its end.

    Returns
    -------
    The state it ended in.
    """
    began, interrupted = time.monotonic(), False
    while True:
        try:
            poll = executor.poll([handle], since)
            since = poll.since
            for event in poll.events:
                on_event(event)
            last = poll.events[-1] if poll.events else None
            if isinstance(last, StatusEvent) and last.state.has_ended:
                return last.state
            time.sleep(min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, _PAUSE_SHARE * (time.monotonic() - began))))
        except KeyboardInterrupt:
            grace = 0.0 if interrupted else GRACE_SECONDS  # the second time: at once
            interrupted = True
            executor.stop(handle, grace, "interrupted from the keyboard")


def executor_of(job: JobDirectory) -> Executor:
    """The executor that a job names; the local one, where its request cannot be read."""
    try:
        name = job.executor
    except JobError:
        name = "local"
    return open_executor(name, job.path.parent, f"{job.path / 'job.json'}, executor")
