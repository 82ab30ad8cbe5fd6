"""How many pictures each class has, in all and in each split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vizsla.data.checks.facts import Check, Facts
from vizsla.data.dataset import SPLITS
from vizsla.findings import Finding
from vizsla.parameters import spelled

IMBALANCE = 10.0
"""Largest class over smallest from which on it is told."""
FEW = 10
"""Training pictures of a class below which it is told."""


def counts(facts: Facts) -> npt.NDArray[np.int64]:
    """Readable pictures by class and split, int64 (classes, 3)."""
    return facts.dataset.counts(facts.scan.readable)


def effective_classes(totals: npt.NDArray[np.int64]) -> float:
    """The number of equally large classes with the same entropy: exp of Shannon's entropy (Hill number of order 1,
    Hill, Ecology 54, 1973)."""
    share = totals[totals > 0] / totals.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def imbalance(facts: Facts) -> Finding | None:
    """The largest class is many times the smallest."""
    train = counts(facts)[:, SPLITS.index("train")]
    if not (train > 0).any() or train.max() < IMBALANCE * max(1, train[train > 0].min()):
        return None
    classes, present = facts.dataset.classes, np.flatnonzero(train)
    large, small = int(train.argmax()), int(present[train[present].argmin()])
    return Finding(
        "imbalance",
        "warning",
        "Unequal classes",
        f"{classes[large]!r} has {train[large]:,} training pictures, {classes[small]!r} {train[small]:,}: "
        f"{train[large] / train[small]:.1f} times as many. {len(present)} classes are worth "
        f"{effective_classes(train):.1f} equal ones.",
        f"train with {spelled('balance', 'weights')} (or sampling), and look at macro F1; better, collect more of the "
        "small classes",
    )


def missing(facts: Facts) -> Finding | None:
    """A class without a picture in some split."""
    table = counts(facts)
    empty = [[split for split, count in zip(SPLITS, row, strict=True) if not count] for row in table.tolist()]
    absent = [
        f"{name!r} in {'any split' if len(splits) == len(SPLITS) else ' and '.join(splits)}"
        for name, splits in zip(facts.dataset.classes, empty, strict=True)
        if splits
    ]
    if not absent:
        return None
    train = bool((table[:, 0] == 0).any())
    shown = "; ".join(absent[:12]) + (f" and {len(absent) - 12} more" if len(absent) > 12 else "")
    return Finding(
        "missing-class",
        "error" if train else "warning",
        "Classes missing from a split",
        f"No readable picture of {shown}.",
        "add pictures: without them the class cannot be learnt (train), watched (valid) or measured (test)",
    )


def few(facts: Facts) -> Finding | None:
    """A class with hardly any training picture."""
    train = counts(facts)[:, SPLITS.index("train")]
    small = [f"{facts.dataset.classes[i]!r} ({train[i]})" for i in np.flatnonzero((train > 0) & (train < FEW))]
    if not small:
        return None
    shown = ", ".join(small[:12]) + (f" and {len(small) - 12} more" if len(small) > 12 else "")
    return Finding(
        "few-pictures",
        "warning",
        "Classes with few training pictures",
        f"Fewer than {FEW} training pictures: {shown}.",
        "collect more: what is learnt from so few pictures is mostly chance",
    )


CHECKS: tuple[Check, ...] = (missing, imbalance, few)
