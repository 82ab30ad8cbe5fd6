"""Files that cannot be read as pictures: one finding for each kind of error."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vizsla.data.checks.facts import Check, Facts
from vizsla.errors import IMAGE_ERROR_KINDS
from vizsla.findings import Finding
from vizsla.parameters import spelled


def _table() -> dict[str, tuple[str, str]]:
    """By kind the finding's title, and what to do."""
    left_out = f"they are left out ({spelled('on_damaged', 'skip')}); replace them"
    repair = spelled("on_damaged", "repair")
    return {
        "unreadable": ("Files that cannot be opened", f"check their permissions and the disk; {left_out}"),
        "empty": ("Empty files", f"copy them again; {left_out}"),
        "too-many-bytes": ("Files above the size limit", "raise VIZSLA_MAX_IMAGE_MB if they are meant"),
        "not-an-image": ("Files that are no pictures", f"take them away or convert them; {left_out}"),
        "unreadable-format": (
            "Pictures in formats that cannot be read",
            f"convert them, or install what reads them; {left_out}",
        ),
        "truncated": (
            "Truncated pictures",
            f"copy them again, or keep their intact part by {repair}; without that they are left out",
        ),
        "damaged": ("Damaged pictures", f"copy them again; {left_out}"),
        "corrupt-data": (
            "Pictures that are partly broken",
            f"look at them: parts are gray, displaced or noise; {left_out}, or keep one by its status in the manifest",
        ),
        "too-many-pixels": ("Pictures above the pixel limit", "raise VIZSLA_MAX_MEGAPIXELS if they are meant"),
        "too-slow": ("Pictures that take too long to decode", "re-save them, or raise VIZSLA_DECODE_SECONDS"),
        "unsupported": ("Pictures with values of unknown range", f"convert them to 8 or 16 bits; {left_out}"),
    }


_OF_SEVERAL_CAUSES = ("unreadable", "not-an-image", "unreadable-format")
"""Kinds whose causes are told, in the same words for many files, each with what to do about it."""


def _check(kind: str) -> Check:
    def check(facts: Facts) -> Finding | None:
        errors = {row: error for row, error in facts.scan.errors.items() if error.kind == kind}
        if not errors:
            return None
        title, fix = _table()[kind]
        parts = [f"{len(errors):,} of {len(facts.dataset):,} files: {IMAGE_ERROR_KINDS[kind]}."]
        steps = [fix]
        if kind in _OF_SEVERAL_CAUSES:
            whats = Counter(error.what for error in errors.values()).most_common(4)
            parts += [what if len(whats) == 1 else f"{what} ({count:,})" for what, count in whats]
            steps = [*dict.fromkeys(error.do for error in errors.values() if error.do)][:3] or steps
        parts.append(_by_class(facts, list(errors)))
        files = facts.files(sorted(errors), lambda row: errors[row].what)
        return Finding(kind, "error", title, " ".join(parts), "; ".join(steps), files)

    return check


def _by_class(facts: Facts, rows: list[int], most: int = 8) -> str:
    dataset = facts.dataset
    totals = np.bincount(dataset.labels, minlength=len(dataset.classes))
    lost = Counter(dataset.labels[rows].tolist()).most_common()
    shown = [
        f"{count:,} of {dataset.classes[label]!r}" + (" (all there are)" if count == totals[label] else "")
        for label, count in lost[:most]
    ]
    return f"By class: {', '.join(shown)}" + (f" and {len(lost) - most} more classes." if len(lost) > most else ".")


CHECKS = tuple(_check(kind) for kind in _table())
