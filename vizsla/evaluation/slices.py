"""Groups of pictures on which a model does worse, found among many without being fooled by chance.

Many slices are looked at, so that some look bad by chance. Which ones are worse than that is decided by shuffling the
mistakes among the pictures of each class, and asking how bad the worst slice is then (Westfall and Young 1993: max-T).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.evaluation.evaluate import Estimate
from vizsla.evaluation.intervals import wilson

LEVEL = 0.005
"""How often pictures without any weak slice may have one named."""
SHUFFLES = 1000
_SHARES = (0.05, 0.1, 0.2, 0.3)
_LEAST, _GAP = 20, 0.05
"""Pictures that a slice needs, and how far its accuracy must lie below the others'."""
_MOST = 6
_CHUNK = 250

Bools = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A slice that is looked at: what it is made of, in words, and its rows, bool (n,)."""

    about: str
    words: str
    rows: Bools


@dataclass(frozen=True)
class WeakSlice:
    """A slice on which the model does worse than on the other pictures of the same classes.

    ``expected`` is the accuracy that its classes would have it, ``rest`` that of all other pictures; ``p`` is the
    probability of so bad a slice among all that were looked at, had the mistakes nothing to do with any of them.
    ``also`` describes the same pictures in other words.
    """

    about: str
    words: str
    rows: npt.NDArray[np.int64]
    accuracy: Estimate
    rest: float
    expected: float
    p: float
    also: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "about": self.about,
            "slice": self.words,
            "pictures": len(self.rows),
            "accuracy": round(self.accuracy.value, 6),
            "accuracy_interval": [round(self.accuracy.low, 6), round(self.accuracy.high, 6)],
            "accuracy_of_the_rest": round(self.rest, 6),
            "accuracy_expected_of_its_classes": round(self.expected, 6),
            "p_corrected": round(self.p, 6),
            "also": list(self.also),
        }


def candidates(
    numbers: Mapping[str, tuple[Doubles, str, str]], categories: Mapping[str, Sequence[str]]
) -> list[Candidate]:
    """The slices to look at.

    Parameters
    ----------
    numbers:
        A value for each picture, with words for low and for high ones, which hold ``{}`` for the value.
    categories:
        A name for each picture; the empty one is no slice.
    """
    found = []
    for about, (values, low, high) in numbers.items():
        for share in _SHARES:
            below, above = np.quantile(values, [share, 1 - share])
            for edge, rows, words in ((below, values < below, low), (above, values > above, high)):
                found.append(Candidate(about, f"{words.format(f'{edge:.3g}')} ({100 * rows.mean():.0f} %)", rows))
    for about, names in categories.items():
        array = np.asarray(names, dtype=str)
        found += [Candidate(about, f"{about}: {name}", array == name) for name in np.unique(array).tolist() if name]
    return [c for c in found if _LEAST <= c.rows.sum() <= len(c.rows) - _LEAST]


def weak_slices(
    looked_at: Sequence[Candidate], right: Bools, labels: npt.NDArray[np.int32], *, seed: int = 0
) -> list[WeakSlice]:
    """The slices that are worse beyond chance, the clearest first; each is judged without the pictures of those before.

    Parameters
    ----------
    right:
        Which pictures the model is right about, bool (n,).
    labels:
        Their classes, int32 (n,): mistakes are only shuffled within a class, so that no slice is weak because its
        classes are.
    """
    named: list[WeakSlice] = []
    kept = np.arange(len(right))
    while len(named) < _MOST:
        remaining = [c for c in looked_at if _LEAST <= c.rows[kept].sum() <= len(kept) - _LEAST]
        if not remaining or right[kept].all():
            return named
        members = np.stack([c.rows[kept] for c in remaining]).astype(np.float32)
        scores, worst = _scores(members, ~right[kept], labels[kept], np.random.default_rng(seed))
        order = np.argsort(-scores, kind="stable")
        chosen = next((at for at in order.tolist() if _gap(remaining[at], right, kept) >= _GAP), None)
        if chosen is None:
            return named
        p = (1 + int((worst >= scores[chosen]).sum())) / (1 + len(worst))
        if p > LEVEL:
            return named
        rows = kept[remaining[chosen].rows[kept]]
        also = _same(remaining, chosen, [at for at in order.tolist() if scores[at] > np.quantile(worst, 1 - LEVEL)])
        named.append(_named(remaining[chosen], rows, right, labels, p, also))
        kept = np.setdiff1d(kept, rows)
    return named


def _named(
    candidate: Candidate,
    rows: npt.NDArray[np.int64],
    right: Bools,
    labels: npt.NDArray[np.int32],
    p: float,
    also: tuple[str, ...],
) -> WeakSlice:
    hits, n = int(right[rows].sum()), len(rows)
    others = np.setdiff1d(np.arange(len(right)), rows)
    counts = np.bincount(labels)
    by_class = np.bincount(labels, weights=right) / np.maximum(counts, 1)
    return WeakSlice(
        candidate.about,
        candidate.words,
        rows,
        Estimate(hits / n, *wilson(hits, n)),
        float(right[others].mean()),
        float(by_class[labels[rows]].mean()),
        p,
        also,
    )


def _scores(
    members: npt.NDArray[np.float32], wrong: Bools, labels: npt.NDArray[np.int32], rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """How many standard deviations each slice (slices, n) lies above the mistakes that chance would give it within
    the classes (Mantel and Haenszel 1959), and the largest of these in each shuffle."""
    expected, variance = np.zeros(len(members)), np.zeros(len(members))
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for rows in classes:
        total, share = len(rows), wrong[rows].mean()
        inside = members[:, rows].sum(axis=1, dtype=np.float64)
        expected += inside * share
        if total > 1:
            variance += inside * share * (1 - share) * (total - inside) / (total - 1)
    deviation = np.sqrt(np.maximum(variance, 1e-9))
    worst = []
    for start in range(0, SHUFFLES, _CHUNK):
        count = min(_CHUNK, SHUFFLES - start)
        shuffled = np.zeros((count, len(wrong)), np.float32)
        for rows in classes:
            shuffled[:, rows] = rng.permuted(np.tile(wrong[rows], (count, 1)), axis=1)
        worst.append(((shuffled @ members.T - expected) / deviation).max(axis=1))
    return (members @ wrong.astype(np.float32) - expected) / deviation, np.concatenate(worst)


def _gap(candidate: Candidate, right: Bools, kept: npt.NDArray[np.int64]) -> float:
    inside = candidate.rows[kept]
    return float(right[kept[~inside]].mean() - right[kept[inside]].mean())


def _same(remaining: Sequence[Candidate], chosen: int, others: Sequence[int]) -> tuple[str, ...]:
    """Other clear slices, of other properties, that hold mostly the same pictures."""
    rows, about, words = remaining[chosen].rows, {remaining[chosen].about}, list[str]()
    for at in others:
        other = remaining[at]
        overlap = (rows & other.rows).sum() / min(rows.sum(), other.rows.sum())
        if other.about not in about and overlap >= 0.5:
            about.add(other.about)
            words.append(other.words)
    return tuple(words[:3])
