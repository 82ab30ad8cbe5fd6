"""Processes by number and start time, so that a number given out again is not taken for the old process."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """One process. ``started`` is its start in clock ticks since boot; None where the system does not tell."""

    pid: int
    started: float | None

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        stat = _stat(pid)
        return cls(pid, None if stat is None else float(stat[19]))

    @property
    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        stat = _stat(self.pid)
        return stat is None or (stat[0] not in ("Z", "X") and self.started in (None, float(stat[19])))

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if there is still one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def children(pid: int) -> list[int]:
    """Direct children; those whose parent ended are given to the nearest process that takes orphans."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(part) for part in file.read().split()]
    except OSError:
        return []


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None
