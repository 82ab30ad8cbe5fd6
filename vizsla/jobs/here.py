"""Jobs that run within this process, which is then their controller."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from vizsla.errors import DataError, JobError, UsageError, VizslaError
from vizsla.jobs import tracking
from vizsla.jobs.attempt import forget_stop, settle, stop_reason
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.home import bucket_home, discard
from vizsla.jobs.lock import ControllerLock, create_locked
from vizsla.jobs.processes import Process
from vizsla.jobs.profiled import profiled_here
from vizsla.settings import settings


class AskedToStop(BaseException):
    """SIGTERM came; not an Exception, so that nobody takes it for an error of the work."""


@contextlib.contextmanager
def running_here(
    kind: str, base_name: str, document: dict[str, Any], *, name: str | None = None, home: Path | None = None
) -> Iterator[JobDirectory]:
    """Make a job and run it in the block: no process is started, the state is kept and the end told in words.

    Should this process be killed, ``vizsla jobs resume`` can go on with the job in one of its own, unless its kind is
    no single process.

    Raises
    ------
    JobError
        When the name exists or is not allowed, or when somebody stopped the job (``vizsla jobs stop``).
    """
    job, lock = create_locked(kind, base_name, document, settings().home if home is None else home, name)
    try:
        with _recorded(job):
            yield job
    finally:
        lock.release()


@contextlib.contextmanager
def withdrawn_if_refused(job: JobDirectory, *, is_here: bool = True) -> Iterator[None]:
    """What is refused in the block, before any work, is no job: its directory goes. A job that another process controls
    (not ``is_here``) stays, and fails."""
    try:
        yield
    except (DataError, UsageError):
        if is_here:
            discard(job.path)
        raise


@contextlib.contextmanager
def resuming_here(job: JobDirectory) -> Iterator[JobDirectory]:
    """Go on with a job in the block, as :func:`running_here` runs a new one.

    Raises
    ------
    JobError
        When another process controls it, it is completed, or somebody stopped it.
    """
    lock = ControllerLock.handed(job.path)
    if lock is None:
        settle(job)  # an attempt that was killed is over
        lock = ControllerLock(job.path)
    try:
        if (bucket := bucket_home(job.path.parent)) is not None:  # it may have run, and its trials, on another machine
            bucket.fetch(job.name)
            bucket.refresh_all()
        if job.state.has_ended:
            forget_stop(job)
        with _recorded(job):
            yield job
    finally:
        lock.release()


@contextlib.contextmanager
def _recorded(job: JobDirectory) -> Iterator[None]:
    (job.run / "command.json").unlink(missing_ok=True)
    process = Process.of(os.getpid())
    job.set_state("InProgress", pid=process.pid, pid_started=process.started)
    tracking.begin(job)
    try:
        with stoppable(), profiled_here(job):
            if stop_reason(job) is not None:  # asked before there was a process to signal
                raise AskedToStop
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_stopped(job, "interrupted from the keyboard")) from None
    except AskedToStop:
        raise _stopped(job, stop_reason(job) or "stopped on request") from None
    except BaseException as error:
        words = str(error) if isinstance(error, VizslaError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(VizslaError):  # a full disk must not hide the first error
            job.write_failure(words)
            job.set_state("Failed", words.splitlines()[0])
        raise
    else:
        job.set_state("Completed", exit_code=0)
    finally:
        job.close()
        tracking.end(job)


def _stopped(job: JobDirectory, reason: str) -> JobError:
    job.set_state("Stopped", reason)
    return JobError(
        f"Job {job.name!r} was stopped: {reason}.", where=job.path, do=f"`{job.resume_command}` goes on with it"
    )


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM ends the block; only the main thread can be told so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise AskedToStop

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
