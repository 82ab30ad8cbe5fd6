"""Some steps of a training through torch.profiler: operators on processor and GPU, and a trace for Perfetto."""

from __future__ import annotations

import atexit
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from vizsla.profiling.timeline import Timeline

OPERATORS, TRACE = "operators.json", "trace.json"
_MOST = 200


def read_operators(output: Path) -> dict[str, Any] | None:
    """What :class:`Window` wrote; None where no steps were looked at."""
    with contextlib.suppress(OSError, ValueError):
        value = json.loads((output / "framework" / OPERATORS).read_bytes())
        return value if isinstance(value, dict) else None
    return None


class Window:
    """Looks at ``steps`` steps from ``first`` on; called after each step.

    What goes wrong within ends the looking, and never the training.
    """

    def __init__(self, output: Path, timeline: Timeline, first: int, steps: int) -> None:
        self._folder, self._timeline = output / "framework", timeline
        self._first, self._steps = max(1, first), steps
        self._profiler: Any = None
        self._began = self._before = 0.0
        self._earlier: list[float] = []

    def __call__(self) -> None:
        """A step has ended."""
        now = time.monotonic()
        at = self._timeline.steps
        try:
            if self._profiler is None and at < self._first:
                self._earlier = [*self._earlier[-8:], now - self._before] if self._before else []
                self._before = now
            elif self._profiler is None and at == self._first:
                self._start()
            elif self._profiler is not None and at >= self._first + self._steps:
                self._stop()
        except Exception as error:  # noqa: BLE001 - another profiler may be running, for one
            self._profiler, self._first = None, sys.maxsize
            print(f"[vizsla] no operators are recorded: {error}", file=sys.stderr, flush=True)

    def _start(self) -> None:
        import torch

        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities, acc_events=True)
        self._profiler.start()
        atexit.register(self.close)
        self._began = time.monotonic()

    def close(self) -> None:
        """The process ends before its last step was looked at: torch crashes where its profiler still runs then."""
        if self._profiler is not None:
            with contextlib.suppress(Exception):
                self._stop()

    def _stop(self) -> None:
        steps = max(1, self._timeline.steps - self._first)
        profiler, self._profiler, self._first = self._profiler, None, sys.maxsize
        atexit.unregister(self.close)
        seconds = (time.monotonic() - self._began) / steps
        profiler.stop()
        rows = []
        for event in profiler.key_averages():
            gpu = float(getattr(event, "self_device_time_total", 0.0))
            rows.append(
                {
                    "name": event.key,
                    "calls": int(event.count),
                    "cpu_ms": float(event.self_cpu_time_total) / 1000,
                    "gpu_ms": gpu / 1000,
                }
            )
        key = "gpu_ms" if any(row["gpu_ms"] for row in rows) else "cpu_ms"
        rows.sort(key=lambda row: -float(row[key]))
        whole = sum(float(row[key]) for row in rows) or 1.0
        usual = sorted(self._earlier)[len(self._earlier) // 2] if self._earlier else seconds
        values = {
            "first_step": self._timeline.steps - steps,
            "steps": steps,
            "slowdown": seconds / max(usual, 1e-9),
            "trace": TRACE,
            "operators": [{**row, "share": float(row[key]) / whole} for row in rows[:_MOST]],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(self._folder / TRACE))
        (self._folder / OPERATORS).write_text(json.dumps(values))
