"""How good a model is: the parts of a fit's page that an evaluation alone can show, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation import Estimate, Evaluation
from vizsla.reports import charts
from vizsla.reports.render import percent, render

_MISTAKES = 12


def fragment(evaluation: Evaluation) -> str:
    """What a notebook shows of an evaluation."""
    return render("evaluation_alone.html.j2", e=parts(evaluation))


def parts(
    evaluation: Evaluation,
    counts: npt.NDArray[np.int64] | None = None,
    which: str = "of the test split, which training never saw",
) -> dict[str, Any]:
    """What ``evaluation.html.j2`` shows.

    Parameters
    ----------
    counts:
        Pictures in train and valid by class, int64 (classes, 2), where they are known.
    which:
        Words for the pictures that were measured.
    """
    names = [score.name for score in evaluation.classes]
    return {
        "n": evaluation.n,
        "which": which,
        "accuracy": percent(evaluation.accuracy.value),
        "balanced": percent(evaluation.balanced_accuracy.value),
        "tiles": _tiles(evaluation),
        "constant_words": _constant_words(evaluation),
        "confusion_chart": charts.confusion(evaluation.confusion, names),
        "mistakes": [
            {"truth": names[i], "predicted": names[j], "count": count}
            for i, j, count in evaluation.mistakes()[:_MISTAKES]
        ],
        "counted": ("pictures",) if counts is None else ("train", "valid", "test"),
        "class_rows": _class_rows(evaluation, counts),
        "many_classes": len(names) > charts.MOST_DRAWN_CLASSES,
        "reliability_chart": charts.reliability(evaluation.reliability),
        "calibration_words": _calibration_words(evaluation),
    }


def _tiles(e: Evaluation) -> list[dict[str, str]]:
    tiles: list[tuple[str, Estimate, Callable[[float], str]]] = [
        ("accuracy", e.accuracy, percent),
        *([("balanced accuracy", e.balanced_accuracy, percent)] if e.unequal else []),
        ("macro F1", e.macro_f1, percent),
        (f"top-{e.top_k}", e.top5, percent),
        ("loss", e.loss, lambda v: f"{v:.3f}"),
        ("calibration error", e.ece, percent),
    ]
    return [
        {
            "name": name,
            "value": write(estimate.value),
            "interval": f"{write(estimate.low)} to {write(estimate.high)}"
            if name != f"top-{len(e.classes)}"
            else f"always, with {len(e.classes)} classes",
        }
        for name, estimate, write in tiles
    ]


def _constant_words(e: Evaluation) -> str:
    c = e.constant
    verdict = "The model is clearly better" if c.beaten else "The model is not clearly better"
    return (
        f"Always answering {c.label!r}, the class that training saw most, would be right on {percent(c.accuracy)}. "
        f"{verdict}: it is right on {c.better:,} pictures where that is wrong, and wrong on {c.worse:,} where it is "
        "right."
    )


def _calibration_words(e: Evaluation) -> str:
    confidence = float((e.reliability[:, 0] * e.reliability[:, 1]).sum() / e.n)
    gap = confidence - e.accuracy.value
    judged = "is about as sure of itself as it is right"
    if gap > 0.02:
        judged = "is surer of itself than it is right"
    elif gap < -0.02:
        judged = "is less sure of itself than it could be"
    return (
        f"The model {judged}: its mean confidence is {percent(confidence)}, its accuracy {percent(e.accuracy.value)}. "
        f"The expected calibration error is {percent(e.ece.value)}: the mean distance of the bars from the diagonal, "
        "weighted by the pictures in each."
    )


def _class_rows(evaluation: Evaluation, counts: npt.NDArray[np.int64] | None) -> list[dict[str, Any]]:
    return [
        {
            "name": score.name,
            "counts": [*([] if counts is None else counts[i].tolist()), score.support],
            "precision": _range(score.precision),
            "recall": _range(score.recall),
            "f1": "–" if score.f1 is None else percent(score.f1),
        }
        for i, score in enumerate(evaluation.classes)
    ]


def _range(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{percent(estimate.value)} ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"
