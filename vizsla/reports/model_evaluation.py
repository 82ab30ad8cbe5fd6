"""The page that ``vizsla evaluate`` ends with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vizsla.errors import ImageError
from vizsla.evaluation import Evaluation
from vizsla.evaluation.measured import Measured
from vizsla.images import Limits, decode, read_file
from vizsla.reports.evaluation import parts
from vizsla.reports.render import render, thumbnail

_PAIRS, _OF_A_PAIR, _SHOWN = 6, 6, 18
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
    measured: Measured
    damaged: Sequence[dict[str, str]]
    notes: Sequence[str]
    seconds: Sequence[tuple[str, float]]


def page(report: ModelReport) -> str:
    """The whole page as HTML, pictures included."""
    evaluation, measured = report.evaluation, report.measured
    names = [score.name for score in evaluation.classes]
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
        surest=pictures(measured, measured.surest_mistakes(_SHOWN).tolist()),
        damaged=report.damaged,
        seconds=report.seconds,
    )


def pictures(measured: Measured, rows: Iterable[int]) -> list[dict[str, Any]]:
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
            "path": measured.paths[row],
            "truth": measured.classes[measured.labels[row]],
            "predicted": measured.classes[measured.predicted[row]],
            "probability": float(measured.confidence[row]),
            "right": bool(measured.right[row]),
        }

    return [one(row) for row in rows]
