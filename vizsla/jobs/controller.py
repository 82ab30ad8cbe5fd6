"""What a person does with jobs: find, list, follow, stop, remove."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import check_folder, storage
from vizsla.jobs import attempt as attempts
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.base import GRACE_SECONDS, Event, Executor, Handle, Since, StatusEvent
from vizsla.jobs.lock import holder, take
from vizsla.jobs.processes import Process
from vizsla.jobs.states import ENDED, State

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
    if damaged and (folder / "job.json").exists():
        return JobDirectory(folder.absolute())
    job = JobDirectory.open(folder)
    attempts.settle(job)
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
    found = []
    if home.is_dir():
        for entry in os.scandir(home):
            if not entry.name.startswith(".") and entry.is_dir():
                summary = _summary(JobDirectory(Path(entry.path)))
                if summary is not None:
                    found.append(summary)
    yield from sorted(found, key=lambda summary: (summary.created, summary.name))


def _summary(job: JobDirectory) -> Summary | None:
    if not (job.path / "job.json").exists():
        return None
    try:
        request, state = job.request, job.state
        if not state.has_ended:
            state = attempts.settle(job)
    except JobError as error:
        return Summary(job.name, "?", UNREADABLE, "", problem=str(error))
    except Exception as error:  # noqa: BLE001 - one odd directory must not hide all the others
        return Summary(job.name, "?", UNREADABLE, "", problem=f"{type(error).__name__}: {error}")
    about = request.get("about")
    return Summary(
        name=job.name,
        kind=job.kind,
        status=state.status,
        created=state.created,
        started=state.started,
        ended=state.ended,
        reason=state.reason,
        parent=about.get("parent") if isinstance(about, dict) else None,
    )


def follow(
    executor: Executor,
    handle: Handle,
    on_event: Callable[[Event], None] = lambda event: None,
    since: Since | None = None,
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


def stop(job: JobDirectory, grace: float = GRACE_SECONDS, reason: str | None = None) -> State:
    """End a job, whoever controls it, and wait until it has ended.

    Raises
    ------
    JobError
        When it has ended already, or does not end.
    """
    state = attempts.settle(job)
    if state.has_ended:
        raise JobError(f"Job {job.name!r} is {state.status} already: there is nothing to stop.", where=job.path)
    attempts.request_stop(job, grace, reason)
    end = time.monotonic() + grace + 2
    while time.monotonic() < end:
        state = attempts.settle(job)
        if state.has_ended:
            return state
        if attempts.stop_reason(job) is None:  # somebody went on with it meanwhile, and what was asked is forgotten
            attempts.request_stop(job, grace, reason)
        time.sleep(0.05)
    found = attempts.running(job, state.attempts)
    if found is not None:
        Process(found.supervisor, found.supervisor_started).signal(signal.SIGKILL)
        attempts.kill(job, found)
    elif state.pid is not None:
        Process(state.pid, state.pid_started).signal(signal.SIGKILL)
    time.sleep(1)
    state = attempts.settle(job)
    if not state.has_ended:
        raise JobError(
            f"Job {job.name!r} does not end: {holder(job.path) or 'another process'} controls it and does not answer.",
            where=job.path,
            do="let that process go on (it may be suspended), or end it",
        )
    return state


def check_removable(job: JobDirectory) -> None:
    """That a job can be removed: it has ended, or its files are damaged and nothing of it runs.

    Raises
    ------
    JobError
        Otherwise.
    """
    if job.path.is_symlink():
        raise JobError(
            f"{job.name!r} is a link to a job.",
            where=job.path,
            do=f"name the job itself, {job.path.resolve()}; a link is removed by `rm`",
        )
    try:
        status = attempts.settle(job).status
    except JobError:
        status = "InProgress" if attempts.still_runs(job) else "Failed"
    if status not in ENDED:
        raise JobError(
            f"Job {job.name!r} is {status}: it cannot be removed.",
            where=job.path,
            do=f"stop it first: `vizsla jobs stop {job.name}`",
        )


def remove(job: JobDirectory) -> None:
    """Delete a job that has ended, or whose files are damaged, with everything in its directory.

    Raises
    ------
    JobError
        When it has not ended, or another process controls it.
    """
    check_removable(job)
    lock = take(job.path)
    if lock is None:
        raise JobError(f"Job {job.name!r} is just being started by another process.", where=job.path)
    try:
        check_removable(job)  # it may have been started by somebody who lost it since
        gone = job.path.with_name(f".{job.name}.removed")
        with storage(job.path):
            shutil.rmtree(gone, ignore_errors=True)
            job.path.rename(gone)  # in one step: a half removed job is never seen
            shutil.rmtree(gone)
    finally:
        lock.release()
