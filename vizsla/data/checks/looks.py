"""Dark, bright, blurry and empty pictures, by cleanvision's scores."""

from __future__ import annotations

import numpy as np

from vizsla.data.checks.facts import Check, Facts
from vizsla.data.quality import ISSUES, THRESHOLDS
from vizsla.findings import Finding

_TABLE = {
    "dark": ("dark", "Dark pictures", "nearly black", "take them away if nothing can be seen"),
    "light": ("bright", "Bright pictures", "nearly white", "take them away if nothing can be seen"),
    "low_information": ("low-information", "Pictures that show nothing", "nearly of one colour", "take them away"),
    "blurry": ("blurry", "Blurry pictures", "without sharp edges", "take them away if the thing cannot be told"),
}


def _check(column: int, issue: str) -> Check:
    name, title, words, fix = _TABLE[issue]
    threshold = THRESHOLDS[column]

    def check(facts: Facts) -> Finding | None:
        scores = facts.scan.records["scores"][:, column]
        rows = np.flatnonzero((scores < threshold) & facts.scan.seen)
        if not len(rows):
            return None
        rows = rows[np.argsort(scores[rows], kind="stable")]
        files = facts.files(rows, lambda row: f"score {scores[row]:.3f}")
        evidence = (
            f"{len(rows):,} of {len(facts.dataset):,} are {words} (cleanvision's {issue} score below {threshold})."
        )
        return Finding(name, "warning", title, evidence, fix, files)

    return check


CHECKS = tuple(_check(column, issue) for column, issue in enumerate(ISSUES))
