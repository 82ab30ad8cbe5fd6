"""What a model says of one picture."""

from __future__ import annotations

from vizsla.errors import ImageError
from vizsla.models.model import Prediction
from vizsla.reports.render import render, thumbnail

_THUMBNAIL = 160


def fragment(prediction: Prediction) -> str:
    """What a notebook shows of a prediction: the picture, where it still can be read, and the likely classes."""
    try:
        image = thumbnail(prediction.open(), 2 * _THUMBNAIL)
    except ImageError:  # it could be read when it was asked about
        image = ""
    return render(
        "prediction.html.j2",
        image=image,
        source=prediction.source,
        label=prediction.label,
        probability=prediction.probability,
        top=prediction.top,
        warning="" if prediction.warning is None else prediction.warning.what,
    )
