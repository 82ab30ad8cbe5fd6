"""What Kernel SHAP says of many pictures together: for each class where in them, and which of their parts, matter.

Clarify's global values are the means of |SHAP| of a feature over all rows (developer guide, "Feature Attributions that
Use Shapley Values"). Pictures have no features in common but places: each segment's value is spread over its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.explanation.explanation import Explanation

PLACES = tuple(f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right"))
_SIDE, _BORDER, _SHOWN = 3, 8, 6
_MAP = 28

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A segment that matters: its picture (a position), what it adds, and where it lies: (left, top, right, bottom) in
    pixels of what the model saw."""

    picture: int
    value: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class ClassSummary:
    """One class over all pictures that were explained for it.

    ``places`` float64 (9,), in the order of :data:`PLACES`, are means over the pictures of the sizes there;
    ``evidence`` (28, 28) is the mean map, positive where places speak for the class. ``border`` is the share of the
    sizes that lies in the outer eighth, which has the share ``border_area`` of the picture. ``expected`` is the mean
    probability of the baseline. ``parts`` are the segments that speak loudest for the class.
    """

    label: str
    pictures: tuple[int, ...]
    expected: float
    places: Doubles
    evidence: Doubles
    border: float
    border_area: float
    parts: tuple[Part, ...]

    def to_dict(self, explanations: Sequence[Explanation]) -> dict[str, Any]:
        """Plain JSON values; the pictures are those of ``explanations``."""
        return {
            "label": self.label,
            "pictures": len(self.pictures),
            "mean_absolute_shap": dict(zip(PLACES, (round(v, 6) for v in self.places.tolist()), strict=True)),
            "border_share": round(self.border, 4),
            "border_area": round(self.border_area, 4),
            "expected_value": round(self.expected, 6),
            "parts": [
                {"image": explanations[p.picture].image, "value": round(p.value, 6), "box": list(p.box)}
                for p in self.parts
            ],
        }


def summaries(explanations: Sequence[Explanation]) -> list[ClassSummary]:
    """One for each class that was explained, those with most pictures first; none of a single picture."""
    own: dict[str, list[int]] = {}
    for at, explanation in enumerate(explanations):
        if explanation.segments is not None:
            own.setdefault(explanation.label, []).append(at)
    if sum(map(len, own.values())) < 2:
        return []
    found = [_summary(label, rows, explanations) for label, rows in own.items()]
    return sorted(found, key=lambda one: (-len(one.pictures), one.label))


def analysis(found: Sequence[ClassSummary]) -> dict[str, Any]:
    """Clarify's ``analysis.json`` of them."""
    values = {
        one.label: {
            "global_shap_values": dict(zip(PLACES, one.places.tolist(), strict=True)),
            "expected_value": one.expected,
        }
        for one in found
    }
    return {"version": "1.0", "explanations": {"kernel_shap": values}}


def _summary(label: str, rows: list[int], explanations: Sequence[Explanation]) -> ClassSummary:
    area = 0.0
    places, evidence, border = np.zeros(_SIDE * _SIDE), np.zeros((_MAP, _MAP)), list[float]()
    parts: list[Part] = []
    for at in rows:
        explanation = explanations[at]
        segments = explanation.segments
        assert segments is not None
        values = np.asarray(explanation.values)
        density = values[segments] / np.bincount(segments.ravel(), minlength=len(values))[segments]
        sizes = np.abs(density)
        places += _pooled(sizes, _SIDE).ravel() / len(rows)
        evidence += _pooled(density, _MAP) / len(rows)
        inner = _inner(segments.shape)
        area = float((~inner).mean())
        border.append(float(sizes[~inner].sum() / max(sizes.sum(), 1e-12)))
        parts += [Part(at, float(values[i]), _box(segments == i)) for i in np.argsort(-values)[:2].tolist()]
    begins = float(np.mean([explanations[at].begins for at in rows]))
    loudest = sorted((part for part in parts if part.value > 0), key=lambda part: -part.value)[:_SHOWN]
    return ClassSummary(label, tuple(rows), begins, places, evidence, float(np.mean(border)), area, tuple(loudest))


def _pooled(values: Doubles, side: int) -> Doubles:
    """The sums of (h, w) over a grid of side x side cells."""
    rows = np.arange(values.shape[0]) * side // values.shape[0]
    columns = np.arange(values.shape[1]) * side // values.shape[1]
    cells = rows[:, None] * side + columns[None]
    sums = np.bincount(cells.ravel(), weights=values.ravel(), minlength=side * side)
    return sums.reshape(side, side).astype(np.float64)


def _inner(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which pixels lie within the border, bool (h, w)."""
    inner = np.zeros(shape, bool)
    high, wide = shape[0] // _BORDER, shape[1] // _BORDER
    inner[high : shape[0] - high, wide : shape[1] - wide] = True
    return inner


def _box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
