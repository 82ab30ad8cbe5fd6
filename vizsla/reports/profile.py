"""The page of the profiler, in the order of SageMaker's report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from vizsla.files import write_bytes
from vizsla.profiling.evaluation import RuleResult
from vizsla.profiling.finding import ProfileFinding
from vizsla.profiling.layout import NODE
from vizsla.profiling.operators import read_operators
from vizsla.profiling.profile import JobProfile
from vizsla.reports.charts import Series, lines, svg
from vizsla.reports.render import render

_POINTS = 400
_COLOURS = {
    "forward": "#2f7ed8",
    "backward": "#1c4e8a",
    "optimizer": "#7cb5ec",
    "waiting for data": "#d9534f",
    "host to device": "#f0ad4e",
    "evaluation": "#5cb85c",
    "checkpoint": "#8e6bbf",
    "logging": "#c9a227",
    "features": "#2a9d8f",
    "training the head": "#1c4e8a",
    "other": "#9aa0a6",
    "finalisation": "#c4c8cc",
}
_INITIALISATION = "#b08968"
Floats = npt.NDArray[np.float64]


def write_page(
    path: Path, name: str, profile: JobProfile, rules: Sequence[RuleResult], findings: Sequence[ProfileFinding]
) -> None:
    """``profiler-report.html``.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    write_bytes(path, page(name, profile, rules, findings).encode())


def page(name: str, profile: JobProfile, rules: Sequence[RuleResult], findings: Sequence[ProfileFinding]) -> str:
    """The page as one HTML text that needs nothing else."""
    ordered = sorted(rules, key=lambda r: -r.verdict.triggered)
    details = {r.rule.title(): r.verdict.details for r in rules}
    return render(
        "profile.html.j2",
        job=name,
        findings=findings,
        summary=summary(profile),
        usage=details.get("OverallSystemUsage", {}),
        usage_words=usage_words(details.get("OverallSystemUsage", {})),
        system=system_charts(profile),
        phases=phase_table(profile),
        bar=phase_bar(profile.phases),
        loop=profile.loop,
        steps=step_numbers(details.get("StepOutlier", {})),
        step_chart=step_chart(profile),
        histogram=histogram(profile),
        images_per_second=profile.images_per_second,
        loaders=profile.facts.get("loaders", []),
        loading=loading(profile),
        operators=read_operators(profile.folder),
        advice=profile.advice.get("changes", []),
        rules=[r for r in ordered if r.rule.recommendation],
        broken={r.rule.title(): r.broken for r in rules if r.broken},
        sampler=profile.sampler,
        damaged=profile.samples.damaged,
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if seconds else ""


def summary(profile: JobProfile) -> list[tuple[str, str, str]]:
    """SageMaker's table of the job: what, value, share of the whole."""
    begin, end = profile.span
    rows = [("Start", _time(begin), ""), ("End", _time(end), ""), ("Job duration", f"{end - begin:,.1f} s", "100 %")]
    if profile.segments is None:
        return rows
    first, last = profile.segments.loop
    whole = max(end - begin, 1e-9)
    rows += [("Training loop start", _time(first), ""), ("Training loop end", _time(last), "")]
    for title, seconds in (
        ("Initialization", first - begin),
        ("Training loop", last - first),
        ("Finalization", end - last),
    ):
        rows.append((title, f"{seconds:,.1f} s", f"{100 * seconds / whole:.1f} %"))
    return rows


def usage_words(usage: dict[str, Any]) -> str:
    """A sentence on how well the machine was used."""
    cpu = usage.get("CPU", {}).get(NODE, {}).get("p95")
    gpu = usage.get("GPU", {}).get(NODE, {}).get("p95")
    if cpu is None:
        return "The machine's counters were not read."
    if gpu is None:
        busy = "well used" if cpu >= 70 else "little used"
        return f"There is no GPU. The cores were {busy}: 95 % of their samples are below {cpu:.0f} %."
    if gpu >= 70:
        return f"The GPUs were well used: 95 % of their samples are below {gpu:.0f} %."
    cause = "the processor may hold them up" if cpu > 70 else "so was the processor: a smaller machine may do"
    return f"The GPUs were little used (p95 {gpu:.0f} %), and {cause}."


def thinned(us: npt.NDArray[np.int64], values: Floats, begin: float) -> tuple[list[float], list[float]]:
    """Means over equal spans of samples, at most some hundreds; seconds since ``begin``."""
    parts = np.array_split(np.arange(len(us)), min(_POINTS, len(us))) if len(us) else []
    return (
        [round(float(us[p].mean()) / 1e6 - begin, 2) for p in parts],
        [round(float(values[p].mean()), 3) for p in parts],
    )


def system_charts(profile: JobProfile) -> list[tuple[str, Markup]]:
    """The machine over time."""
    samples, own, begin = profile.samples, profile.own_samples, profile.span[0]
    charts: list[tuple[str, Markup]] = []

    def chart(title: str, unit: str, series: list[tuple[str, npt.NDArray[np.int64], Floats]]) -> None:
        drawn = [Series(name, *thinned(us, values, begin)) for name, us, values in series if len(us)]
        if drawn:
            charts.append((title, lines(drawn, x_label="seconds", y_label=unit)))

    us, cores, _ = samples.table("cpu", "CPUUtilization")
    waits = samples.table("cpu", "I/OWaitPercentage")[1]
    mean = [("mean of the cores", us, cores.mean(1)), ("waiting for the disk", us, waits.mean(1))] if len(us) else []
    cpu = own.of("process", "CPUUtilization")
    share = [("this job", cpu[0], cpu[1] / max(1, cores.shape[1]))] if len(us) else []
    chart("Processor", "%", [*mean, *share])
    chart("Memory", "%", [("in use", *samples.of("memory"))])
    memory = own.of("process", "Memory")
    chart("Memory of this job", "MiB", [("resident", memory[0], memory[1] / 2**20)])
    chart(
        "GPU",
        "%",
        [
            (f"gpu {d.removeprefix('GPU')}", *samples.of("gpu", None, d))
            for d in ("GPUUtilization", "GPUMemoryUtilization")
        ],
    )
    names = (("read", "ReadThroughputInBytesPerSecond"), ("write", "WriteThroughputInBytesPerSecond"))
    chart("Disk", "MB/s", [(word, us, v / 1e6) for word, n in names for us, v in [samples.of("i/o", n)]])
    nets = (("receive", "ReceiveBytesPerSecond"), ("transmit", "TransmitBytesPerSecond"))
    chart("Network", "MB/s", [(w, us, v / 1e6) for w, n in nets for us, v in [samples.of("network", n, "Platform")]])
    return charts


def phase_table(profile: JobProfile) -> list[tuple[str, float, float]]:
    """Phase, seconds, share."""
    whole = sum(profile.phases.values()) or 1.0
    return [(name, seconds, seconds / whole) for name, seconds in profile.phases.items()]


def phase_bar(phases: dict[str, float]) -> Markup:
    """One bar of all phases."""
    width, whole, x = 760.0, sum(phases.values()) or 1.0, 0.0
    parts = []
    for name, seconds in phases.items():
        part = width * seconds / whole
        colour = _COLOURS.get(name, _INITIALISATION)
        parts.append(
            f'<rect x="{x:.1f}" y="0" width="{part:.1f}" height="34" fill="{colour}">'
            f"<title>{escape(name)}: {seconds:.1f} s</title></rect>"
        )
        if part > 60:
            label = escape(name if len(name) * 6.5 < part else name.split(",")[0][: int(part / 7)])
            parts.append(f'<text x="{x + 5:.1f}" y="21" style="fill:#fff">{label}</text>')
        x += part
    return svg(parts, int(width), 36)


def step_numbers(details: dict[str, Any]) -> dict[str, Any]:
    """The statistics that StepOutlier gives."""
    return details.get("step_details", {}).get(NODE, {}) if details else {}


def step_chart(profile: JobProfile) -> Markup | None:
    """How long each training step took, and how long of it waited; the longest of each span of steps is drawn."""
    steps = profile.train_steps
    if steps is None or not len(steps):
        return None
    parts = np.array_split(np.arange(len(steps)), min(_POINTS, len(steps)))
    at = [int(p[np.argmax(steps.seconds[p])]) for p in parts]
    drawn = [
        Series("step", [float(i) for i in at], [round(1000 * float(steps.seconds[i]), 2) for i in at]),
        Series("of it waiting for data", [float(i) for i in at], [round(1000 * float(steps.wait[i]), 2) for i in at]),
    ]
    return lines(drawn, x_label="step", y_label="ms")


def histogram(profile: JobProfile) -> Markup | None:
    """Of the lengths of steps, without the longest hundredth."""
    steps = profile.train_steps
    if steps is None or len(steps) < 4:
        return None
    values = 1000 * steps.seconds
    counts, edges = np.histogram(values[values <= np.percentile(values, 99)], 40)
    series = Series("steps", [round(float(x), 3) for x in (edges[:-1] + edges[1:]) / 2], [float(c) for c in counts])
    return lines([series], x_label="ms", y_label="steps")


def loading(profile: JobProfile) -> list[tuple[str, int, float, float, float]]:
    """Of each process that fetched: who, batches, ms a batch, share that computed, share that decoded."""
    rows = []
    for entry in profile.loaders[:32]:
        wall = max(1, entry["fetch_ns"])
        who = "the training process" if entry["worker"] is None else f"worker {entry['worker']}"
        each = entry["fetch_ns"] / max(1, entry["batches"]) / 1e6
        rows.append((who, entry["batches"], each, entry["fetch_cpu_ns"] / wall, entry["decode_ns"] / wall))
    return rows
