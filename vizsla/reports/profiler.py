"""The page of SageMaker's profiler report: what the machine did, and what rules said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vizsla.debugging.finding import RuleFinding
from vizsla.reports.charts import Series, lines
from vizsla.reports.render import render

_POINTS = 300


def page(job: str, seconds: float | None, samples: Sequence[dict[str, Any]], findings: Sequence[RuleFinding]) -> str:
    """The page as one HTML text that needs nothing else.

    Parameters
    ----------
    seconds:
        How long the job ran.
    samples:
        Rows of Type, Name, Dimension, Value and Timestamp, in the order of time.
    """
    start = samples[0]["Timestamp"] if samples else 0.0
    cpu: dict[float, list[float]] = defaultdict(list)
    memory: dict[float, float] = {}
    for row in samples:
        at = row["Timestamp"] - start
        if row["Dimension"] == "CPUUtilization":
            cpu[at].append(row["Value"])
        elif row["Name"] == "MemoryUsedPercent":
            memory[at] = row["Value"]
    means = {at: sum(values) / len(values) for at, values in cpu.items()}
    return render(
        "profiler.html.j2",
        job=job,
        seconds=seconds,
        cores=len({row["Name"] for row in samples if row["Type"] == "cpu"}),
        tables=[(name, _quantiles(values)) for name, values in (("CPU", means), ("memory", memory)) if values],
        chart=lines([_series("CPU", means), _series("memory", memory)], x_label="seconds", y_label="percent"),
        findings=findings,
    )


def _series(name: str, values: dict[float, float]) -> Series:
    every = max(1, len(values) // _POINTS)
    return Series(name, list(values)[::every], list(values.values())[::every])


def _quantiles(values: dict[float, float]) -> dict[str, float]:
    ordered = sorted(values.values())
    pick = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in pick.items()}
    return {"min": ordered[0], **found, "max": ordered[-1]}
