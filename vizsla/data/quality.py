"""Blurry, dark, bright and empty pictures: cleanvision's statistics and thresholds on the picture already decoded.

cleanvision's own pass decodes every file again and keeps its statistics nowhere; taking its functions saves that.
They run on a copy of at most 128 pixels a side, which leaves the same pictures flagged (docs/data.md).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

ISSUES = ("dark", "light", "low_information", "blurry")
"""cleanvision's names; the columns of the scores. A score lies in 0..1, and low is bad."""

THRESHOLDS = (0.32, 0.05, 0.3, 0.29)
"""Below these a picture is flagged: cleanvision 0.3.7's defaults. A test compares them with the installed ones."""

_SIDE = 128


def available() -> bool:
    """Whether cleanvision is installed (it comes with the extra ``check``)."""
    return importlib.util.find_spec("cleanvision") is not None


def statistics(image: Image.Image) -> dict[str, Any]:
    """cleanvision's raw numbers of one RGB picture."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC, reducing_gap=2)
    numbers: dict[str, Any] = {}
    for property_ in _properties()[1].values():
        numbers |= property_.calculate(small)
    return numbers


def scores(raw: Sequence[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """Scores of pictures from their raw numbers: float32 (n, 4), columns as in :data:`ISSUES`."""
    import pandas

    defaults, properties = _properties()
    frame = pandas.DataFrame(list(raw))
    columns = []
    for issue in ISSUES:
        property_ = properties.get(issue) or _light()
        columns.append(
            property_.get_scores(raw_scores=frame[property_.score_columns], issue_type=issue, **defaults[issue])
        )
    return np.column_stack(columns).astype(np.float32)


@cache
def _properties() -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """cleanvision's parameters by issue, and what calculates (brightness serves dark and light)."""
    from cleanvision.issue_managers import image_property as issues
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

    properties = {
        "dark": issues.BrightnessProperty("dark"),
        "low_information": issues.EntropyProperty(),
        "blurry": issues.BlurrinessProperty(),
    }
    return ImagePropertyIssueManager().get_default_params(), properties


@cache
def _light() -> Any:
    from cleanvision.issue_managers.image_property import BrightnessProperty

    return BrightnessProperty("light")
