"""One controller for a study: a lock beside its file, which the system takes away with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from vizsla.errors import JobError
from vizsla.files import storage


@contextlib.contextmanager
def controlling(uri: str, holder: str) -> Iterator[None]:
    """Be the only one that writes the studies in a file; ``holder`` is the job that others are told of.

    A database at an address has no file to lock: there it is left to its users.

    Raises
    ------
    JobError
        When another process has it.
    """
    if "://" in uri:
        yield
        return
    path = Path(uri).absolute()
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            other = os.pread(file, 200, 0).decode(errors="replace").strip()
            raise JobError(
                f"Another search writes this study{f': {other}' if other else ''}.",
                where=uri,
                do="wait for its end, stop it with `vizsla jobs stop`, or name another file by --study",
            ) from error
        os.ftruncate(file, 0)
        os.pwrite(file, f"job {holder}, process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)
