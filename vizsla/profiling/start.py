"""The sampler beside a job: how it is started and ended. The standard library alone, as a supervisor has no more."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from vizsla.version import PACKAGE

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from vizsla.profiling.sampler import main; main(sys.argv[2:])"
_REPORT = "import sys; sys.path.insert(0, sys.argv[1]); from vizsla.workflow.profile import main; main(sys.argv[2:])"
_END_SECONDS = 1.0
LEAST_REPORTED_SECONDS = 5.0
"""A job that trains no network and ends before has a profile, and no report until somebody asks for it."""


def new_clock() -> int:
    """Nanoseconds from the monotonic clock to Unix time, now."""
    return time.time_ns() - time.monotonic_ns()


def start_sampler(job: Path, interval: float, clock: int, process: int) -> int | None:
    """Sample the machine, and ``process`` with those that it starts, until :func:`end_sampler`, or until this process
    ends. Returns at once.

    Parameters
    ----------
    interval:
        Seconds.

    Returns
    -------
    The sampler's process number; None where it cannot be started, which is no failure of the job.
    """
    return _spawn(job, _BOOT, [str(job), str(interval), str(clock), str(process), str(os.getpid())])


def start_report(job: Path) -> int | None:
    """Write the report of a job that has ended, in a process of its own."""
    return _spawn(job, _REPORT, [str(job)])


def _spawn(job: Path, boot: str, words: list[str]) -> int | None:
    log = str(job / ".run" / "profiler.log")
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Its own threads would only take cores from the job.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        argv = [sys.executable, "-I", "-c", boot, str(PACKAGE.parent), *words]
        return os.posix_spawn(sys.executable, argv, environment, file_actions=files)
    except OSError:
        return None


def end_sampler(pid: int | None) -> None:
    """Let it write its last sample."""
    wait_for(pid, _END_SECONDS, signal.SIGTERM)


def wait_for(pid: int | None, seconds: float, number: int | None = None) -> None:
    """Wait for a process of ours, after a signal where one is given; it is killed after ``seconds``."""
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        if number is not None:
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
