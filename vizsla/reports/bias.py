"""The page of a bias analysis, with the sections of Clarify's report."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from vizsla.evaluation.bias.analysis import BiasAnalysis, GroupBias, Metric
from vizsla.evaluation.bias.division import divide
from vizsla.reports import charts
from vizsla.reports.render import percent, render

_MOST_LABELS = 40


def page(analysis: BiasAnalysis, config: dict[str, Any], title: str, job: str, created: str) -> str:
    """The whole page as HTML."""
    names = [str(name) for name in analysis.labels]
    return render(
        "bias.html.j2",
        title=title,
        job=job,
        created=created,
        label=analysis.label,
        positive=analysis.positive,
        rows=analysis.rows,
        notes=analysis.notes,
        label_chart=charts.stacked(np.array(analysis.label_counts)[:, None], names, ("rows",), most=_MOST_LABELS),
        matrix=None if analysis.matrix is None else charts.confusion(analysis.matrix, names),
        groups=[_group(group) for group in analysis.groups],
        config=json.dumps(config, indent=2, ensure_ascii=False),
    )


def _group(group: GroupBias) -> dict[str, Any]:
    confusion = group.confusion
    return {
        "facet": group.facet,
        "value": group.value,
        "n": group.n,
        "others": group.others,
        "small": group.small,
        "sizes": charts.stacked(np.array([[group.others], [group.n]]), ["all others", group.value], ("rows",)),
        "pretraining": [_metric(metric) for metric in group.pretraining],
        "posttraining": [_metric(metric) for metric in group.posttraining],
        "performance": [] if confusion is None else _performance(confusion),
    }


def _metric(metric: Metric) -> dict[str, str]:
    interval = "" if metric.low is None else f"{_number(metric.low)} to {_number(metric.high)}"
    return {
        "name": metric.name,
        "description": metric.description,
        "value": _number(metric.value),
        "interval": interval,
        "error": metric.error or "",
    }


def _performance(confusion: np.ndarray[Any, Any]) -> list[tuple[str, str, str]]:
    """Clarify's table of how the model does, for the others and for the facet."""
    tn, fp, fn, tp = confusion[:, 0, 0], confusion[:, 0, 1], confusion[:, 1, 0], confusion[:, 1, 1]
    n = confusion.sum(axis=(1, 2))
    rows: list[tuple[str, Any, Any]] = [
        ("Accuracy", tp + tn, n),
        ("Proportion of positive predictions", tp + fp, n),
        ("Proportion of negative predictions", tn + fn, n),
        ("Recall", tp, tp + fn),
        ("Specificity", tn, tn + fp),
        ("Precision", tp, tp + fp),
        ("Rejection rate", tn, tn + fn),
        ("Conditional acceptance", tp + fn, tp + fp),
        ("Conditional rejection", tn + fp, tn + fn),
        ("F1", 2 * tp, 2 * tp + fp + fn),
    ]
    cells = [(name, divide(above, below), below) for name, above, below in rows]
    shown: list[tuple[str, str, str]] = []
    for name, value, below in cells:
        others, facet = ("–" if not below[at] else percent(float(value[at])) for at in (0, 1))
        shown.append((name, others, facet))
    return shown


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if math.isfinite(value) else "∞" if value > 0 else "-∞"
