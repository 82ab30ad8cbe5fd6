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
            pass  # another user's: the old process only where the start is the same
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


def boot_id() -> str | None:
    """Names this run of the system: process numbers and start times mean nothing after the next one (random(4))."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return None


def processes_with(variable: str, value: str) -> list[int]:
    """The processes that were started with this variable, or forked from such; not this one and its ancestors."""
    wanted = os.fsencode(f"{variable}={value}")
    spared, parent = set[int](), os.getpid()
    while parent > 1 and parent not in spared:
        spared.add(parent)
        parent = int((_stat(parent) or ["", "0"])[1])
    pids = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit() and int(name) not in spared:
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    pids.append(int(name))
    return pids


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
