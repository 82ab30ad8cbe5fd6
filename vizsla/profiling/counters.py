"""What the machine's counters say, as rows of SageMaker's system metrics."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from vizsla.profiling.gpu import Gpus

Row = tuple[str, str, str, float]
"""Type, name, dimension, value."""
_CGROUP = Path("/sys/fs/cgroup")
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


class Counters:
    """Reads one source after the other. What the system refuses is put into ``missing`` and asked no more.

    Rates need two reads: the first gives the memory alone.
    """

    def __init__(self) -> None:
        self.gpus = Gpus()
        self.missing: dict[str, str] = {} if self.gpus.why is None else {"gpu": self.gpus.why}
        self.in_container = any(os.path.exists(mark) for mark in _CONTAINER_MARKS)
        self.memory_limit = memory_limit()
        self.cores = sorted(usable_cores())
        self._sources: dict[str, Callable[[float], Sequence[Row]]] = {
            "i/o": self._disk,
            "cpu": self._cpu,
            "memory": self._memory,
            "network": self._network,
        }
        if self.gpus.why is None:
            self._sources["gpu"] = self._gpu
        self._before: dict[str, tuple[float, Any]] = {}

    def read(self) -> list[tuple[float, Sequence[Row]]]:
        """The rows of each source with the moment (``time.monotonic``) of its reading."""
        result = []
        for name, source in list(self._sources.items()):
            try:
                moment = time.monotonic()
                rows = source(moment)
                if rows:
                    result.append((moment, rows))
            except Exception as error:  # noqa: BLE001 - whatever a driver raises
                del self._sources[name]
                self.missing[name] = f"{type(error).__name__}: {error}"
        return result

    def _since(self, name: str, moment: float, value: Any) -> tuple[float, Any] | None:
        before = self._before.get(name)
        self._before[name] = (moment, value)
        return None if before is None or moment <= before[0] else (moment - before[0], before[1])

    def _memory(self, moment: float) -> Sequence[Row]:
        if self.memory_limit is not None:
            used = memory_used()
            if used is not None:
                return [("memory", "MemoryUsedPercent", "", 100 * used / self.memory_limit)]
        return [("memory", "MemoryUsedPercent", "", psutil.virtual_memory().percent)]

    def _cpu(self, moment: float) -> Sequence[Row]:
        now = psutil.cpu_times(percpu=True)
        past = self._since("cpu", moment, now)
        if past is None:
            return ()
        rows: list[Row] = []
        for core in self.cores:
            if core >= len(now) or core >= len(past[1]):
                continue
            a, b = past[1][core], now[core]
            total = sum(b[:8]) - sum(a[:8])  # guests are in user and nice already
            if total <= 0:
                continue
            wait = getattr(b, "iowait", 0.0) - getattr(a, "iowait", 0.0)
            busy = total - (b.idle - a.idle) - wait
            for dimension, part in (("CPUUtilization", busy), ("I/OWaitPercentage", wait)):
                rows.append(("cpu", f"cpu{core}", dimension, min(100.0, max(0.0, 100 * part / total))))
        return rows

    def _disk(self, moment: float) -> Sequence[Row]:
        now = psutil.disk_io_counters()
        if now is None:
            raise OSError("the system tells of no disks")
        past = self._since("i/o", moment, now)
        if past is None:
            return ()
        seconds, old = past
        counts = now.read_count + now.write_count - old.read_count - old.write_count
        values = {
            "IOPS": counts,
            "ReadThroughputInBytesPerSecond": now.read_bytes - old.read_bytes,
            "WriteThroughputInBytesPerSecond": now.write_bytes - old.write_bytes,
        }
        return [("i/o", name, "", max(0.0, value / seconds)) for name, value in values.items()]

    def _network(self, moment: float) -> Sequence[Row]:
        """``Platform``; in a container, which has a network of its own, ``Algorithm`` is the same."""
        cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        now = (sum(card.bytes_recv for card in cards), sum(card.bytes_sent for card in cards))
        past = self._since("network", moment, now)
        if past is None:
            return ()
        seconds, old = past
        return [
            ("network", name, dimension, max(0.0, (new - was) / seconds))
            for dimension in (("Algorithm", "Platform") if self.in_container else ("Platform",))
            for name, new, was in zip(("ReceiveBytesPerSecond", "TransmitBytesPerSecond"), now, old, strict=True)
        ]

    def _gpu(self, moment: float) -> Sequence[Row]:
        return [
            ("gpu", f"gpu{number}", dimension, value)
            for number, used, memory in self.gpus.read()
            for dimension, value in (("GPUUtilization", used), ("GPUMemoryUtilization", memory))
        ]


class ProcessTree:
    """A process with all that it started: CPU, memory, threads. Looked at so rarely that it costs next to nothing."""

    _SHARE, _CREDIT = 0.0015, 20.0
    """Of a core, at most; and the seconds of that which may be spent at once, so that a short job is seen, too."""

    def __init__(self, pid: int) -> None:
        self._pid, self._due, self._spent, self._began = pid, 0.0, 0.0, time.monotonic()
        self._cpu: dict[tuple[int, float], float] = {}
        self._before: float | None = None

    def read(self) -> list[tuple[float, Sequence[Row]]]:
        """Percent of one core, bytes (resident, shared pages counted in each), counts; nothing while it is not due."""
        moment = time.monotonic()
        if moment < self._due:
            return []
        rows: list[tuple[float, Sequence[Row]]] = []
        with contextlib.suppress(psutil.Error, OSError):
            root = psutil.Process(self._pid)
            cpu: dict[tuple[int, float], float] = {}
            memory = threads = 0
            for process in [root, *root.children(recursive=True)]:
                with contextlib.suppress(psutil.Error), process.oneshot():
                    times = process.cpu_times()
                    cpu[process.pid, process.create_time()] = times.user + times.system
                    memory += process.memory_info().rss
                    threads += process.num_threads()
            if self._before is not None:
                used = sum(value - self._cpu.get(key, 0.0) for key, value in cpu.items())
                percent = 100 * used / (moment - self._before)
                values = {"CPUUtilization": percent, "Memory": memory, "Threads": threads, "Processes": len(cpu)}
                rows = [(moment, [("process", name, "", float(value)) for name, value in values.items()])]
            self._cpu, self._before = cpu, moment
        now = time.monotonic()
        self._spent += now - moment
        self._due = now + max(0.9, self._spent / self._SHARE - (now - self._began) - self._CREDIT)
        return rows


def usable_cores() -> set[int]:
    """The numbers of the cores that this process may run on."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not on macOS
        return set(range(os.cpu_count() or 1))


def core_limit() -> float:
    """Cores that this process has: those it may run on, or less where its control group has a quota."""
    number = float(len(usable_cores()))
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return min(number, int(quota) / int(period))
    with contextlib.suppress(OSError, ValueError):
        quota_us = int((_CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            return min(number, quota_us / int((_CGROUP / "cpu/cpu.cfs_period_us").read_text()))
    return number


def memory_limit() -> int | None:
    """Bytes that the control group allows; None where it allows all of the machine's."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limit = int((_CGROUP / name).read_text())
            return limit if limit < psutil.virtual_memory().total else None
    return None


def memory_used() -> int | None:
    """Bytes that the control group holds and cannot give back at once."""
    for folder, used, key in (
        (_CGROUP, "memory.current", "inactive_file"),
        (_CGROUP / "memory", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):
            held = int((folder / used).read_text())
            lines = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return held - int(lines.get(key, 0))
    return None
