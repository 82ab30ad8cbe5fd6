"""Deleting jobs: in one step, so that a half removed one is never seen."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from vizsla.errors import JobError
from vizsla.files import storage
from vizsla.jobs.events import Handle
from vizsla.jobs.home import bucket_home
from vizsla.jobs.lock import take
from vizsla.jobs.states import ENDED


def refuse_link(handle: Handle) -> None:
    """A link to a job is not removed in its place.

    Raises
    ------
    JobError
        When it is one.
    """
    if handle.path.is_symlink():
        raise JobError(
            f"{handle.name!r} is a link to a job.",
            where=handle.path,
            do=f"name the job itself, {handle.path.resolve()}; a link is removed by `rm`",
        )


def refuse_unended(handle: Handle, status: str) -> None:
    """A job that has not ended is not removed.

    Raises
    ------
    JobError
        When its ``status`` says so.
    """
    if status not in ENDED:
        raise JobError(
            f"Job {handle.name!r} is {status}: it cannot be removed.",
            where=handle.path,
            do=f"stop it first: `vizsla jobs stop {handle.name}`",
        )


def remove(handle: Handle, check: Callable[[], None]) -> None:
    """Delete a job, here and in its bucket; ``check`` says that it can be.

    Raises
    ------
    JobError
        When ``check`` does, or another process controls the job.
    """
    check()
    lock = take(handle.path)
    if lock is None:
        raise JobError(f"Job {handle.name!r} is just being started by another process.", where=handle.path)
    try:
        check()  # it may have been started by somebody who lost it since
        gone = handle.path.with_name(f".{handle.name}.removed")
        with storage(handle.path):
            shutil.rmtree(gone, ignore_errors=True)
            handle.path.rename(gone)
            shutil.rmtree(gone)
        if (bucket := bucket_home(handle.path.parent)) is not None:
            bucket.remove(handle.name)
    finally:
        lock.release()
