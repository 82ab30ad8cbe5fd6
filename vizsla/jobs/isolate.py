"""``/opt/ml`` for one process: the job's directory, mounted there in a namespace of its own (Linux).

Several jobs can run at once, each with its own ``/opt/ml``; outside of them it stays an empty folder. Channels,
which are links in the job's directory, are real folders there, so that a script that walks ``/opt/ml/input/data``
finds its files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from pathlib import Path

from vizsla.jobs.lock import take

OPT_ML = Path("/opt/ml")
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # sched.h: CLONE_NEWNS, CLONE_NEWUSER
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18  # sys/mount.h: MS_BIND, MS_REC, MS_PRIVATE


def enter(job: Path) -> None:
    """Give this process, which must have one thread, ``/opt/ml``. Call it between fork and exec.

    Raises
    ------
    OSError
        When the system does not allow it.
    """
    if job.is_relative_to(OPT_ML):
        raise OSError(errno.EBUSY, "the jobs themselves lie there")
    libc = _own_mounts()
    _real_folders(libc, job / "input" / "data")
    _mount(libc, str(job), str(OPT_ML), None, _BIND | _RECURSIVE)


def enter_model(model: Path) -> None:
    """Give this process, which must have one thread, the folder of a model as ``/opt/ml/model``, as a container for
    inference has it. A model that lies there already is left where it is.

    Raises
    ------
    OSError
        When the system does not allow it.
    """
    model = model.resolve()
    if model == OPT_ML / "model":
        return
    if model.is_relative_to(OPT_ML.resolve()):
        raise OSError(errno.EBUSY, "the models themselves lie there")
    libc = _own_mounts()
    place = OPT_ML / "model"
    if not place.is_dir():
        if not any(OPT_ML.iterdir()):
            _mount(libc, "tmpfs", str(OPT_ML), "tmpfs", 0)  # nothing is left behind
        place.mkdir()
    _mount(libc, str(model), str(place), None, _BIND | _RECURSIVE)


def _own_mounts() -> ctypes.CDLL:
    """What this process mounts from now on, it alone sees, and what it starts."""
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "mounts of one process alone need Linux")
    if not OPT_ML.is_dir():
        OPT_ML.mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        _call(libc.unshare(_NEW_MOUNTS))
    else:
        uid, gid = os.getuid(), os.getgid()
        _call(libc.unshare(_NEW_MOUNTS | _NEW_USER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount(libc, "none", "/", None, _RECURSIVE | _PRIVATE)
    return libc


def link(job: Path) -> None:
    """The second best: ``/opt/ml`` as a link to the job's directory, for one job at a time.

    Raises
    ------
    OSError
        When it is another job's, holds something, or cannot be made.
    """
    if job.is_relative_to(OPT_ML):
        raise OSError(errno.EBUSY, "the jobs themselves lie there")
    if OPT_ML.is_symlink():
        owner = OPT_ML.resolve()
        if owner != job and owner.is_dir():  # a removed job's link is nobody's
            lock = take(owner)
            if lock is None:
                raise OSError(errno.EBUSY, f"it is that of job {owner.name!r} now")
            lock.release()
        OPT_ML.unlink()
    elif OPT_ML.is_dir():
        OPT_ML.rmdir()  # only when it is empty
    OPT_ML.symlink_to(job, target_is_directory=True)


def unlink(job: Path) -> None:
    """Take the link of :func:`link` away."""
    with contextlib.suppress(OSError):
        if OPT_ML.is_symlink() and OPT_ML.resolve() == job:
            OPT_ML.unlink()


def _real_folders(libc: ctypes.CDLL, data: Path) -> None:
    """Put the folders themselves where links to folders are; ``os.walk`` does not go into links."""
    folders = {path: path.resolve() for path in data.iterdir() if path.is_symlink() and path.is_dir()}
    files = {path: path.resolve() for path in data.glob("*/*") if path.is_symlink() and path.parent not in folders}
    others = set(data.iterdir()) - set(folders) - {path.parent for path in files}
    if not folders or others:
        return
    _mount(libc, "tmpfs", str(data), "tmpfs", 0)
    for path, source in folders.items():
        path.mkdir()
        _mount(libc, str(source), str(path), None, _BIND | _RECURSIVE)
    for path, source in files.items():
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(source)


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int) -> None:
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _call(libc.mount(*arguments, ctypes.c_ulong(flags), None))


def _call(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
