"""What the machine does while a job runs, in the files of SageMaker's profiler.

``profiler-output/system/incremental/<YYYYMMDDHH>/<epoch of the minute>.algo-1.json``: JSON lines with Type, Name,
Dimension, Value, NodeId and Timestamp, as the tests of awslabs/sagemaker-debugger have them. Read from ``/proc``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROFILER = "profiler"
"""The folder in ``output/`` of a job."""
_SYSTEM = "system/incremental"
_NODE = "algo-1"
_LEAST_SECONDS, _USUAL_MILLISECONDS = 0.1, 500


class Sampler:
    """Appends what the machine does to a job's files, at the interval that its profiler is told.

    Parameters
    ----------
    output:
        ``output/`` of the job.
    config:
        ``ProfilerConfig`` of its document.
    """

    def __init__(self, output: Path, config: dict[str, Any]) -> None:
        self._folder = output / PROFILER / _SYSTEM
        milliseconds = config.get("ProfilingIntervalInMilliseconds") or _USUAL_MILLISECONDS
        self._seconds = max(_LEAST_SECONDS, milliseconds / 1000)
        self._due = 0.0
        self._before = _cpu_times()

    def look(self) -> None:
        """Take a sample, if it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._seconds
        now = time.time()
        moment = datetime.fromtimestamp(now, UTC)
        after = _cpu_times()
        rows = [*_cpu_rows(self._before, after), ("memory", "MemoryUsedPercent", "", _memory_used())]
        self._before = after
        folder = self._folder / moment.strftime("%Y%m%d%H")
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(
            json.dumps(
                {"Type": kind, "Name": name, "Dimension": dimension, "Value": value, "NodeId": _NODE, "Timestamp": now}
            )
            + "\n"
            for kind, name, dimension, value in rows
        )
        with open(folder / f"{int(now) // 60 * 60}.{_NODE}.json", "a", encoding="ascii") as file:
            file.write(lines)


def read(profiler_output: Path) -> list[dict[str, Any]]:
    """All samples of a job, in the order of time."""
    rows = [
        json.loads(line)
        for file in sorted((profiler_output / _SYSTEM).glob(f"*/*.{_NODE}.json"))
        for line in file.read_text("ascii").splitlines()
    ]
    return sorted(rows, key=lambda row: row["Timestamp"])


def _cpu_times() -> dict[str, tuple[int, int, int]]:
    """Of each core ticks in all, idle, and waiting for disks (proc(5), /proc/stat)."""
    times = {}
    for line in Path("/proc/stat").read_text("ascii").splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            ticks = [int(number) for number in numbers[:8]]
            times[name] = (sum(ticks), ticks[3], ticks[4])
    return times


def _cpu_rows(
    before: dict[str, tuple[int, int, int]], after: dict[str, tuple[int, int, int]]
) -> Iterator[tuple[str, str, str, float]]:
    for name, (total, idle, waiting) in after.items():
        was = before.get(name, (0, 0, 0))
        ticks = max(1, total - was[0])
        yield "cpu", name, "CPUUtilization", round(100 * (1 - (idle - was[1] + waiting - was[2]) / ticks), 2)
        yield "cpu", name, "I/OWaitPercentage", round(100 * (waiting - was[2]) / ticks, 2)


def _memory_used() -> float:
    """In percent (proc(5), /proc/meminfo)."""
    facts = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text("ascii").splitlines())
    total, free = (int(facts[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return round(100 * (1 - free / total), 2)
