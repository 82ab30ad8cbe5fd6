"""Pictures that nothing labels: what to say of them, and what their names may tell."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vizsla.errors import DataError
from vizsla.parameters import spelled

LAYOUT = "DATA/<class>/<picture> or DATA/train|valid|test/<class>/<picture>"

_NAME_AND_NUMBER = r"^(.+?)[\W_]*\d+"


def unlabelled(what: str, root: Path, pictures: Iterable[str]) -> DataError:
    """What to do about pictures without labels: folders, a table, or their names where these look like labels."""
    labels = _labels_in(pictures)
    names = (
        f"their names tell them, as it seems ({', '.join(labels)}): {spelled('label_from', _NAME_AND_NUMBER)}"
        if labels
        else f"the files' names tell them, by a regular expression: {spelled('label_from')}"
    )
    return DataError(
        what,
        where=root,
        allowed=LAYOUT,
        do="put the pictures into a folder for each class, or name a table with a column path and a column label; or "
        + names,
    )


def _labels_in(pictures: Iterable[str], most: int = 4) -> list[str]:
    """Labels that names such as ``cat.12.jpg`` seem to begin with; none where they do not look so."""
    names = [posixpath.basename(path) for path in pictures]
    names = [name for name in names if not name.partition(".")[0].isdigit()]  # as in a test split that has no labels
    labels = Counter(match[1] for name in names if (match := re.search(_NAME_AND_NUMBER, name)))
    if labels.total() < len(names) or not 1 < len(labels) <= len(names) // 2 or min(labels.values()) < 2:
        return []
    shown = sorted(labels)
    return shown if len(shown) <= most else [*shown[:most], "..."]
