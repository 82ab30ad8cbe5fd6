"""One controller for a job: a lock on a file in its directory, which the system takes away with the process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vizsla.errors import JobError, VizslaError
from vizsla.files import storage
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.home import bucket_home

if TYPE_CHECKING:
    from vizsla.jobs.bucket import BucketHome

LOCK = ".run/lock"
_HANDED = "VIZSLA_JOB_LOCK"
"""The variable that tells a process which open file is the lock that it was handed."""
_PATIENCE = 1.0


class ControllerLock:
    """Held by the process that controls a job: the only one that writes its ``state.json``.

    A process that is killed loses it at once; a forked child never holds it.
    ``patience`` is how many seconds to wait for it: whoever only looks whether a job has ended holds it for a moment.

    Raises
    ------
    JobError
        When another process controls the job.
    """

    _file: int
    _held: tuple[BucketHome, str] | None

    def __init__(self, job: Path, patience: float = _PATIENCE) -> None:
        path = job / LOCK
        with storage(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(file, patience)
        except OSError as error:
            os.close(file)
            who = holder(job)
            raise JobError(
                f"Job {job.name!r} is controlled by another process" + (f" ({who})." if who else "."),
                where=job,
                do=f"watch it with `vizsla jobs logs -f {job.name}`, or end it with `vizsla jobs stop {job.name}`",
            ) from error
        self._own(job, file, patience)

    @classmethod
    def handed(cls, job: Path) -> ControllerLock | None:
        """The lock that the process which started this one has held for it (:meth:`handing_over`); None without one."""
        try:
            file = int(os.environ.get(_HANDED, ""))
            if not os.path.samestat(os.fstat(file), os.stat(job / LOCK)):
                return None
        except (ValueError, OSError):
            return None
        del os.environ[_HANDED]
        os.set_inheritable(file, False)
        lock = cls.__new__(cls)
        lock._own(job, file, _PATIENCE)
        return lock

    @contextlib.contextmanager
    def handing_over(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Hand the lock to a process that the block starts with this file left open, and these variables: whoever looks
        before that process has begun finds the job controlled. Not of a job whose home is a bucket."""
        try:
            yield self._file, {_HANDED: str(self._file)}
        except BaseException:
            self.release()
            raise
        os.close(self._file)  # closing leaves it to the process; LOCK_UN would end it
        self._file = -1

    def _own(self, job: Path, file: int, patience: float) -> None:
        self._file, self._held = file, None
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()}\n".encode(), 0)
        _HELD.add(self)
        if not job.name.startswith("."):  # a new job's folder has another name until it is complete
            self.hold(job, patience)

    def hold(self, job: Path, patience: float = _PATIENCE) -> None:
        """Of a job whose home is a bucket: be its controller there, too.

        Raises
        ------
        VizslaError
            When another process is, or the bucket does not answer as it should; the lock is released then.
        """
        bucket = bucket_home(job.parent)
        if bucket is None:
            return
        try:
            bucket.hold(job.name, patient=patience > 0)
        except VizslaError:
            self.release()
            raise
        self._held = bucket, job.name

    @property
    def is_removed(self) -> bool:
        """Whether the file of the lock was deleted, with its job; that of a job that was moved was not."""
        return self._file >= 0 and os.fstat(self._file).st_nlink == 0

    def release(self) -> None:
        """Let another process control the job.

        Raises
        ------
        VizslaError
            Of a job whose home is a bucket, when its last files could not be sent; it is released then, too.
        """
        if self._file < 0:
            return
        try:
            if self._held is not None:
                bucket, name = self._held
                bucket.let_go(name)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1


def create_locked(
    kind: str,
    base_name: str,
    document: dict[str, Any],
    home: Path,
    name: str | None = None,
    prepare: Callable[[Path], None] = lambda staging: None,
    **facts: Any,
) -> tuple[JobDirectory, ControllerLock]:
    """A new job that this process controls from its first moment on: :meth:`JobDirectory.create`, and its lock."""
    locks: list[ControllerLock] = []

    def lock_and_prepare(staging: Path) -> None:
        locks.append(ControllerLock(staging))
        prepare(staging)
        if bucket is not None:
            request = (staging / "job.json").read_bytes()
            bucket.create(json.loads(request)["name"], request)

    bucket = bucket_home(home)
    job: JobDirectory | None = None
    try:
        made = JobDirectory.create(kind, base_name, document, home, name, lock_and_prepare, **facts)
        locks[-1].hold(made.path)
        job = made
        return job, locks[-1]
    finally:
        for lock in locks if job is None else locks[:-1]:  # of names that were taken
            lock.release()


_HELD: weakref.WeakSet[ControllerLock] = weakref.WeakSet()


def _let_go_in_child() -> None:
    for lock in list(_HELD):
        if lock._file >= 0:
            os.close(lock._file)  # closing leaves the parent's lock; LOCK_UN would end it
            lock._file = -1


os.register_at_fork(after_in_child=_let_go_in_child)


def _lock(file: int, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= end:
                raise
        time.sleep(0.02)


def holder(job: Path) -> str:
    """Who took the lock last, such as ``process 4711``; empty where nobody knows."""
    try:
        with open(job / LOCK, "rb") as file:
            return file.read(32).decode(errors="replace").strip()
    except OSError:
        return ""


def take(job: Path) -> ControllerLock | None:
    """The lock, or None when another process has it."""
    try:
        return ControllerLock(job, patience=0)
    except JobError:
        return None


def exclusively(file: int) -> int | None:
    """The open ``file``, locked for as long as it is open; where another has the lock it is closed, and None."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file
