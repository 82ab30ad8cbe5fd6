"""Values over time, and what CloudWatch makes of them: the metrics of jobs, and those that clients have put."""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError
from vizsla.files import storage
from vizsla.jobs.directory import NAME_PATTERN
from vizsla.jobs.metrics import last_metrics, read_metrics

JOBS = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"
STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
Dimensions = Mapping[str, str]
_WRITE = threading.Lock()


@dataclass
class Values:
    """What is known of the values of a moment or a period; ``each`` are those that came by themselves."""

    count: float = 0
    sum: float = 0
    least: float = math.inf
    most: float = -math.inf
    each: list[float] = field(default_factory=list)

    def add(self, other: Values) -> None:
        """Take others in."""
        self.count += other.count
        self.sum += other.sum
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.each += other.each

    def statistic(self, name: str) -> float:
        """``Average``, ``Maximum``, ..., or a percentile such as ``p90``.

        Raises
        ------
        AwsError
            InvalidParameterValue for another.
        """
        simple = {
            "SampleCount": self.count,
            "Sum": self.sum,
            "Minimum": self.least,
            "Maximum": self.most,
            "Average": self.sum / self.count if self.count else math.nan,
        }
        if name in simple:
            return simple[name]
        try:
            share = float(name[1:]) if name[:1] == "p" else -1.0
        except ValueError:
            share = -1.0
        if not 0 <= share <= 100:
            raise AwsError(
                "InvalidParameterValue",
                f"The value {name[:50]!r} for the statistic is invalid: {', '.join(STATISTICS)} or p0 to p100.",
            )
        return _percentile(sorted(self.each), share)


def single(value: float) -> Values:
    """One value."""
    return Values(1, value, value, value, [value])


def _percentile(values: list[float], share: float) -> float:
    if not values:
        return math.nan
    place = share / 100 * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


@dataclass(frozen=True)
class Point:
    """Values of one time (seconds since 1970)."""

    time: float
    values: Values
    unit: str = "None"


def series(ctx: Context, namespace: str, name: str, dimensions: Dimensions) -> Iterator[Point]:
    """All that is known of a metric, in no order."""
    if namespace == JOBS and set(dimensions) == {DIMENSION}:
        job = dimensions[DIMENSION]
        if NAME_PATTERN.fullmatch(job):
            for metric in read_metrics(ctx.home / job / "metrics.jsonl"):
                if metric.name == name and math.isfinite(metric.value):
                    yield Point(metric.time, single(metric.value))
    for row in _put_rows(ctx, namespace):
        if row["name"] == name and row["dimensions"] == dict(dimensions):
            yield Point(row["time"], Values(**row["values"]), row["unit"])


def names(ctx: Context) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of every metric."""
    folders = sorted(ctx.home.iterdir()) if ctx.home.is_dir() else []
    for folder in folders:
        if (folder / "job.json").is_file():
            for name in last_metrics(folder / "metrics.jsonl"):
                yield JOBS, name, {DIMENSION: folder.name}
    seen = set()
    for file in sorted((ctx.state / "metrics").glob("*.jsonl")):
        namespace = urllib.parse.unquote(file.stem)
        for row in _put_rows(ctx, namespace):
            key = (row["name"], *sorted(row["dimensions"].items()))
            if (namespace, key) not in seen:
                seen.add((namespace, key))
                yield namespace, row["name"], row["dimensions"]


def by_period(points: Iterable[Point], begin: float, end: float, period: int) -> dict[float, Values]:
    """The values of each period that has any, by the time at which it begins; ``begin`` is within, ``end`` is not."""
    found: dict[float, Values] = {}
    for point in points:
        if begin <= point.time < end:
            at = point.time // period * period
            found.setdefault(at, Values()).add(point.values)
    return dict(sorted(found.items()))


def put(ctx: Context, namespace: str, rows: Iterable[dict[str, Any]]) -> None:
    """Append what a client has measured: name, dimensions, time, values, unit."""
    file = _file(ctx, namespace)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with _WRITE, storage(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "ab+") as written:
            is_torn = written.tell() > 0 and os.pread(written.fileno(), 1, written.tell() - 1) != b"\n"
            written.write(("\n" if is_torn else "").encode() + text.encode())


def _put_rows(ctx: Context, namespace: str) -> Iterator[dict[str, Any]]:
    try:
        file = open(_file(ctx, namespace))  # noqa: SIM115 - closed below; there is none where nothing was put
    except OSError:
        return
    with file:
        for line in file:
            with contextlib.suppress(ValueError):  # half a line, of a full disk
                yield json.loads(line)


def _file(ctx: Context, namespace: str) -> Path:
    return ctx.state / "metrics" / f"{urllib.parse.quote(namespace, safe='')}.jsonl"
