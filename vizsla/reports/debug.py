"""The page of the debugger: losses with marks where rules spoke, and layers over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from vizsla.debugging.collections import RELUS
from vizsla.debugging.evaluation import Evaluation
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.files import write_bytes
from vizsla.jobs.directory import JobDirectory
from vizsla.reports.charts import Mark, Series, heat_map, lines
from vizsla.reports.render import render

PAGE = "debug.html"
_POINTS = 600
_COLUMNS = 48
_LAYERS = 80


def write_page(job: JobDirectory, evaluation: Evaluation) -> Path:
    """``output/debug.html`` of a job.

    Raises
    ------
    StorageError
        When the file system refuses.
    """
    path = job.output / PAGE
    write_bytes(path, page(job.name, evaluation).encode())
    return path


def page(name: str, evaluation: Evaluation) -> str:
    """The page as one HTML text that needs nothing else."""
    history, findings = evaluation.history, evaluation.sorted_findings
    return render(
        "debug.html.j2",
        job=name,
        findings=findings,
        losses=loss_chart(history, findings),
        maps=[(title, chart) for title, chart in layer_charts(history) if chart],
        model=history.facts.get("model"),
        steps=history.steps_seen,
        rules=evaluation.names,
        broken=evaluation.broken,
    )


def loss_chart(history: History, findings: Sequence[RuleFinding]) -> Markup:
    """Training losses by step, and the mean of each pass over the validation pictures."""
    losses = history.losses
    every = max(1, len(losses) // _POINTS)
    series = [Series("training loss", losses.steps[::every].tolist(), losses.values[::every].tolist())]
    if history.passes:
        series.append(Series("validation loss", [p.step for p in history.passes], [p.loss for p in history.passes]))
    marks = [Mark(f.step, f.rule, f.severity) for f in findings if f.severity != "info"]
    return lines(series, x_label="step", y_label="loss", marks=marks)


def layer_charts(history: History) -> list[tuple[str, Markup | None]]:
    """Heat maps of layers by step: gradients, updates in proportion to weights, dead units."""
    gradients = {
        step: {row.name.removeprefix("gradient/"): _log(row.abs_mean) for row in rows if "," in row.shape}
        for step, rows in history.rows["gradients"].items()
    }
    updates = {
        step: {name: _log(ratio) for name, ratio in history.update_ratios(step).items()}
        for step in history.rows["updates"]
    }
    dead: dict[int, dict[str, float]] = {}
    for kind in RELUS:
        for step, rows in history.rows[kind].items():
            for row in rows:
                if row.values:
                    dead.setdefault(step, {})[row.name] = float(np.mean(np.array(row.values) == 0))
    return [
        ("Size of the gradients (powers of ten)", _map(gradients)),
        ("Size of a step's update over the weight's (powers of ten)", _map(updates)),
        ("Share of ReLU units that let nothing through", _map(dead, limits=(0.0, 1.0))),
    ]


def _log(value: float) -> float:
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


def _map(values: dict[int, dict[str, float]], limits: tuple[float, float] | None = None) -> Markup | None:
    steps = sorted(values)
    names = list(dict.fromkeys(name for step in steps for name in values[step]))[:_LAYERS]
    if not steps or not names:
        return None
    chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, min(_COLUMNS, len(steps))).astype(int))]
    table: npt.NDArray[np.float64] = np.array([[values[s].get(n, math.nan) for s in chosen] for n in names])
    if not np.isfinite(table).any():
        return None
    return heat_map(table, names, [f"{step:,}" for step in chosen], limits)
