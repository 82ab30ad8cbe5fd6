"""The page of explanations, and the pictures on it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.errors import ImageError
from vizsla.evaluation.explanation.explanation import Explanation
from vizsla.evaluation.explanation.faithfulness import upscaled
from vizsla.evaluation.explanation.summary import PLACES, ClassSummary, summaries
from vizsla.images import Limits, decode, read_file
from vizsla.reports.render import render, thumbnail

_SIDE, _NEAREST_SIDE = 300, 120
_FOR, _AGAINST = np.array([255, 120, 0]), np.array([40, 90, 255])
_STRENGTH = 0.65


def overlay(pixels: npt.NDArray[np.uint8], evidence: npt.NDArray[np.float64]) -> bytes:
    """A picture under its map, as JPEG: orange speaks for the class, blue against it, what is pale for nothing."""
    file = io.BytesIO()
    overlaid(pixels, evidence).save(file, "JPEG", quality=88)
    return file.getvalue()


def overlaid(pixels: npt.NDArray[np.uint8], evidence: npt.NDArray[np.float64]) -> Image.Image:
    """A picture (size, size, 3) under its map (h, w)."""
    shape = pixels.shape[:2]
    large = evidence if evidence.shape == shape else upscaled(evidence, shape)
    strength = large / max(1e-12, float(np.abs(large).max()))
    grey = pixels.mean(axis=2, keepdims=True).repeat(3, axis=2)
    share = _STRENGTH * np.abs(strength)[..., None]
    mixed = (1 - share) * (0.5 * grey + 0.5 * pixels) + share * np.where(strength[..., None] > 0, _FOR, _AGAINST)
    return Image.fromarray(mixed.astype(np.uint8))


def page(
    job: str,
    created: str,
    model: str,
    explanations: Sequence[Explanation],
    errors: Mapping[str, ImageError],
    notes: Sequence[str],
) -> str:
    """The whole page as HTML, pictures included."""
    return render(
        "explanation.html.j2",
        job=job,
        created=created,
        model=model,
        summaries=[_summed(one, explanations) for one in summaries(explanations)],
        places=PLACES,
        explanations=[_shown(explanation) for explanation in explanations],
        errors=[{"path": path, "kind": error.kind, "what": error.what} for path, error in errors.items()],
        notes=notes,
    )


def _summed(one: ClassSummary, explanations: Sequence[Explanation]) -> dict[str, Any]:
    return {
        "label": one.label,
        "pictures": len(one.pictures),
        "map": thumbnail(overlaid(_mean([explanations[at].pixels for at in one.pictures]), one.evidence), _SIDE),
        "rows": one.places.reshape(3, 3).tolist(),
        "most": float(one.places.max()),
        "border": one.border,
        "border_area": one.border_area,
        "parts": [
            {
                "image": thumbnail(Image.fromarray(explanations[p.picture].pixels).crop(p.box), _NEAREST_SIDE),
                "value": p.value,
                "path": Path(explanations[p.picture].image).name,
            }
            for p in one.parts
        ],
    }


def _mean(pictures: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """The mean of pictures (h, w, 3), at the size of the first: a model of its own code sees them as they are."""
    height, width = pictures[0].shape[:2]
    same = [np.asarray(Image.fromarray(one).resize((width, height))) for one in pictures]
    mean: npt.NDArray[np.uint8] = np.mean(same, axis=0).astype(np.uint8)
    return mean


def _shown(e: Explanation) -> dict[str, Any]:
    f = e.faithfulness
    return {
        "image": Path(e.image).name,
        "path": e.image,
        "label": e.label,
        "predicted": e.predicted,
        "probability": e.probability,
        "picture": thumbnail(Image.fromarray(e.pixels), _SIDE),
        "map": thumbnail(overlaid(e.pixels, e.evidence), _SIDE),
        "words": _words(e),
        "faithfulness": f,
        "nearest": [
            {"image": _small(path), "label": label, "path": path.name, "cosine": cosine, "same": label == e.label}
            for path, label, cosine in e.nearest
        ],
    }


def _words(e: Explanation) -> str:
    if e.method == "cam":
        total = float(e.evidence.sum())
        return (
            f"Class activation map, exact: the places add {total:+.2f} to the class's own {e.begins:+.2f}, which makes "
            f"its logit, {e.ends:.2f}."
        )
    return (
        f"Kernel SHAP over {len(e.values)} segments, {e.samples:,} pictures asked about: they lead from "
        f"{100 * e.begins:.1f} % (the baseline alone) to {100 * e.ends:.1f} % (the picture)."
    )


def _small(path: Path) -> str:
    limits = Limits.from_settings()
    try:
        return thumbnail(decode(read_file(path, limits), limits, short_side=_NEAREST_SIDE).image, _NEAREST_SIDE)
    except ImageError:  # it has changed since the training
        return ""
