"""The page that ``vizsla evaluate`` ends with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from vizsla.errors import ImageError
from vizsla.evaluation import Estimate, Evaluation
from vizsla.evaluation.insights import Insights
from vizsla.evaluation.predictions import Predictions
from vizsla.evaluation.slices import WeakSlice
from vizsla.evaluation.what_if import LearningCurve
from vizsla.images import Limits, decode, read_file
from vizsla.reports import charts
from vizsla.reports.evaluation import parts
from vizsla.reports.explanation import overlaid
from vizsla.reports.render import percent, render, thumbnail

_PAIRS, _OF_A_PAIR, _SHOWN = 6, 6, 18
SHOWN_MISTAKES = 12
_ENOUGH = 100
"""Measured pictures from which on a sentence is made of what more of them would give."""
_THUMBNAIL = 160
_WHICH = {
    "all": "of these data",
    "train": "of the train split",
    "valid": "of the valid split",
    "test": "of the test split",
}


@dataclass(frozen=True)
class ModelReport:
    """What the page tells."""

    job: str
    created: str
    model: str
    data: str
    which: str
    evaluation: Evaluation
    insights: Insights
    maps: Mapping[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]]
    """Of some pictures, by row: what the model saw, and what spoke for its answer."""
    damaged: Sequence[dict[str, str]]
    notes: Sequence[str]
    seconds: Sequence[tuple[str, float]]


def page(report: ModelReport) -> str:
    """The whole page as HTML, pictures included."""
    evaluation, insights = report.evaluation, report.insights
    measured = insights.measured
    names = [score.name for score in evaluation.classes]
    surest = measured.surest_mistakes(SHOWN_MISTAKES).tolist()
    return render(
        "model_evaluation.html.j2",
        job=report.job,
        created=report.created,
        model=report.model,
        data=report.data,
        notes=report.notes,
        e=parts(evaluation, which=_WHICH[report.which]),
        pairs=[
            {
                "truth": names[i],
                "predicted": names[j],
                "count": count,
                "pictures": pictures(measured, measured.confused(i, j, _OF_A_PAIR).tolist()),
            }
            for i, j, count in evaluation.mistakes()[:_PAIRS]
        ],
        surest=[
            picture | {"map": None if (shown := report.maps.get(row)) is None else thumbnail(overlaid(*shown))}
            for row, picture in zip(surest, pictures(measured, surest), strict=True)
        ],
        slices=[_slice(one, measured) for one in insights.slices],
        looked_at=insights.looked_at,
        comparison=insights.comparison,
        abstain_chart=_abstain_chart(insights),
        abstain_rows=[
            (percent(one.coverage), f"{one.confidence:.3f}", f"{percent(one.accuracy.value)} ({_range(one.accuracy)})")
            for one in insights.thresholds
        ],
        calibration=insights.calibration,
        sentences=sentences(insights),
        balance=insights.balance,
        balance_rows=[
            (name, [split.counts[i] for split in insights.balance]) for i, name in enumerate(measured.classes)
        ],
        curve_chart=None if insights.curve is None else _curve_chart(insights.curve),
        what_ifs=[
            (one.words, percent(one.accuracy), percent(one.balanced_accuracy), one.comparison)
            for one in insights.what_ifs
        ],
        suspects=pictures(measured, insights.suspects[:_SHOWN]),
        suspect_count=len(insights.suspects),
        unlike=[] if insights.novelty is None else pictures(measured, insights.novelty.rows[:_SHOWN].tolist()),
        novelty=insights.novelty,
        damaged=report.damaged,
        seconds=report.seconds,
    )


def sentences(insights: Insights) -> list[str]:
    """What a person can do about it, in sentences."""
    said = []
    measured = insights.measured
    for target, threshold in insights.reaching.items():
        if threshold is not None and threshold.coverage < 1 and measured.right.mean() < target:
            said.append(
                f"To be right on at least {percent(target, 0)} of what it answers, let it answer only from probability "
                f"{threshold.confidence:.3f} on: that leaves {percent(threshold.coverage)} of the pictures."
            )
    c = insights.calibration
    if c is not None and c.loss_with < c.loss - 0.002:
        said.append(
            f"A temperature of {c.temperature:.2f}, fitted on the validation pictures, takes the loss from "
            f"{c.loss:.3f} to {c.loss_with:.3f} and the calibration error from {percent(c.ece)} to "
            f"{percent(c.ece_with)}."
        )
    curve = insights.curve
    if curve is not None and len(measured.paths) >= _ENOUGH:
        said.append(
            f"With twice the training pictures (now {curve.pictures[-1]:,}) the accuracy would be about "
            f"{percent(curve.twice)} ({percent(curve.low)} to {percent(curve.high)}) instead of "
            f"{percent(curve.accuracy[-1])}."
        )
        for need in curve.needs[:3]:
            name = measured.classes[need.label]
            more = "more pictures alone would not bring it there"
            if need.more is not None:
                more = f"about {need.more:,} more would bring it to the mean"
            said.append(
                f"{name!r} is recognised in {percent(need.recall)}, with {need.pictures:,} training pictures: {more}."
            )
    n = insights.novelty
    if n is not None and n.share > 0.03:
        said.append(
            f"{percent(n.share)} of the pictures are unlike all that the model was trained on; of pictures like those "
            "of the training it would be 1 %."
        )
    return said


def _slice(one: WeakSlice, measured: Predictions) -> dict[str, Any]:
    wrong = [row for row in one.rows.tolist() if not measured.right[row]]
    return {
        "words": one.words,
        "n": len(one.rows),
        "accuracy": f"{percent(one.accuracy.value)} ({_range(one.accuracy)})",
        "rest": percent(one.rest),
        "expected": percent(one.expected),
        "p": f"{one.p:.4f}",
        "also": one.also,
        "pictures": pictures(measured, wrong[:_OF_A_PAIR]),
    }


def _abstain_chart(insights: Insights) -> Markup:
    confidence, right = insights.measured.confidence, insights.measured.right
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(right[order]) / counts
    at = np.unique(np.linspace(max(0, len(order) // 20), len(order) - 1, 60).astype(int))
    series = charts.Series("accuracy", (counts[at] / len(order)).tolist(), accuracy[at].tolist())
    return charts.lines([series], x_label="share of the pictures that have an answer", y_label="accuracy")


def _curve_chart(curve: LearningCurve) -> Markup:
    x, y = [*map(float, curve.pictures)], list(curve.accuracy)
    series = [charts.Series("measured", x, y), charts.Series("expected", [x[-1], 2 * x[-1]], [y[-1], curve.twice])]
    return charts.lines(series, x_label="training pictures", y_label="accuracy")


def _range(estimate: Estimate) -> str:
    return f"{100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


def pictures(measured: Predictions, rows: Iterable[int]) -> list[dict[str, Any]]:
    """Pictures of an evaluation, small, with what they show and what the model says."""
    limits = Limits.from_settings()

    def one(row: int) -> dict[str, Any]:
        try:
            decoded = decode(read_file(measured.files[row], limits), limits, short_side=_THUMBNAIL)
            image = thumbnail(decoded.image, _THUMBNAIL)
        except ImageError:  # it could be read a moment ago
            image = ""
        return {
            "image": image,
            "map": None,
            "path": measured.paths[row],
            "truth": measured.classes[measured.labels[row]],
            "predicted": measured.classes[measured.predicted[row]],
            "probability": float(measured.confidence[row]),
            "right": bool(measured.right[row]),
        }

    return [one(row) for row in rows]
