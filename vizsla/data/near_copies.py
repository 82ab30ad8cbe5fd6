"""Which pictures that look nearly the same are copies, and which only show the same scene.

A distance that tells copies among photos of the world is too wide for a fixed camera, a microscope or a conveyor belt:
there any two pictures are as alike as copies are elsewhere. Two things give such a set away: its pictures are as close
to those of another class, or its "copies" are most of a class. Its own distance is then measured: a copy must be three
times as close as pictures of the set are to the most alike other one, in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.data.duplicates import BITS_APART, NEAR_BITS, Clusters, Rows, bits_apart, near
from vizsla.errors import UsageError
from vizsla.parameters import spelled

MOST_BITS = 32
"""Largest distance that may be asked for. Beyond it two different photos are called near copies."""

SCENE_PICTURES = 8
"""Fewest pictures of a scene that is known by being most of a class; fewer are a burst."""

_PART = 3
_ROOM = 12
"""A third of fewer bits is less than re-saving a picture changes (docs/data.md): such copies cannot be told apart."""

_SAMPLE, _OTHERS = 32, 512
"""Pictures of a class, and of the others, that are compared to measure how close classes are."""


@dataclass(frozen=True)
class NearCopies:
    """``clusters`` of near copies, and ``scenes`` that are none.

    ``bits`` int16 (n,): from each picture to the most alike other one, -1 for a picture alone; ``limits`` int16 (n,):
    the most bits at which it was taken for a copy, -1 for at none.
    """

    clusters: Clusters
    bits: npt.NDArray[np.int16]
    limits: npt.NDArray[np.int16]
    scenes: Clusters


def bits_of(choice: str | int) -> int | None:
    """The distance that ``near_copies`` asks for; None for ``auto``, -1 for ``off``.

    Raises
    ------
    UsageError
        For anything else than auto, off or a whole number up to :data:`MOST_BITS`.
    """
    if choice in ("auto", "off"):
        return None if choice == "auto" else -1
    try:
        bits = int(choice) if isinstance(choice, str | int) and not isinstance(choice, bool) else -1
    except ValueError:
        bits = -1
    if not 0 <= bits <= MOST_BITS:
        raise UsageError(
            f"{spelled('near_copies')} {choice!r} is not known.",
            parameter="near_copies",
            allowed=f"auto, off, or the most bits of 256 in which near copies differ, 0 to {MOST_BITS}",
        )
    return bits


def near_copies(
    phash: npt.NDArray[np.uint64],
    readable: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.int32],
    exact: Clusters,
    choice: str | int = "auto",
) -> NearCopies:
    """Near copies among readable pictures, less the scenes where the choice is ``auto``.

    Parameters
    ----------
    phash:
        uint64 (n, 4).
    labels:
        int32 (n,): the class of each.
    exact:
        Copies of the same bytes.
    """
    n, most_bits = len(phash), bits_of(choice)
    alone = Clusters(np.full(n, -1, np.int32))
    if most_bits == -1:
        return NearCopies(alone, np.full(n, -1, np.int16), np.full(n, -1, np.int16), alone)
    clusters, bits = near(phash, readable, NEAR_BITS if most_bits is None else most_bits)
    limits = np.full(n, NEAR_BITS if most_bits is None else most_bits, np.int16)
    if most_bits is not None:
        return NearCopies(clusters, bits, limits, alone)
    _limit_by_classes(limits, clusters, phash, np.flatnonzero(readable & phash.any(axis=1)), labels, exact)
    _limit_by_coverage(limits, clusters, phash, labels, readable, exact)
    if (limits == NEAR_BITS).all():
        return NearCopies(clusters, bits, limits, alone)
    of, bits = np.full(n, -1, np.int32), np.full(n, -1, np.int16)
    for limit in np.unique(limits[limits >= 0]).tolist():
        inner, closest = near(phash, readable & (limits == limit), limit)
        rows = np.flatnonzero(inner.of >= 0)
        of[rows] = inner.of[rows] + int(of.max(initial=-1)) + 1
        bits[rows] = closest[rows]
    scene = np.where(limits < NEAR_BITS, clusters.of, -1)
    among = scene >= 0
    scene[among] = np.unique(scene[among], return_inverse=True)[1]
    return NearCopies(Clusters(of), bits, limits, Clusters(scene))


def _limit_by_classes(
    limits: npt.NDArray[np.int16],
    clusters: Clusters,
    phash: npt.NDArray[np.uint64],
    rows: Rows,
    labels: npt.NDArray[np.int32],
    exact: Clusters,
) -> None:
    """Lower the limits of classes whose pictures are as close to those of others as copies may be."""
    mixed = [labels[members] for members in clusters.members() if np.ptp(labels[members])]
    if not mixed:
        return
    rows = rows[np.argsort(labels[rows], kind="stable")]
    sample = _spread(rows, _OTHERS)
    for label in np.unique(np.concatenate(mixed)):
        first, end = np.searchsorted(labels[rows], (label, label + 1))
        others = sample[labels[sample] != label]
        if len(others) < _SAMPLE:  # nearly all pictures are of this class
            others = _spread(np.concatenate([rows[:first], rows[end:]]), _OTHERS)
        own = rows[first:end]
        sample_of_own = _spread(own, _SAMPLE)
        apart = bits_apart(phash[sample_of_own], phash[others])
        apart[_same_bytes(exact, sample_of_own, others)] = BITS_APART
        limits[own] = _limit(apart.min(axis=1))


def _limit_by_coverage(
    limits: npt.NDArray[np.int16],
    clusters: Clusters,
    phash: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int32],
    readable: npt.NDArray[np.bool_],
    exact: Clusters,
) -> None:
    """Lower the limits of sets that are most of a class."""
    totals = np.bincount(labels[readable], minlength=int(labels.max(initial=0)) + 1)
    for rows in clusters.members():
        if len(rows) < SCENE_PICTURES:
            continue
        once = _distinct(rows, exact)
        counts = np.bincount(labels[once], minlength=len(totals))
        if (limits[rows] == NEAR_BITS).all() and ((counts >= SCENE_PICTURES) & (2 * counts > totals)).any():
            sample = _spread(once, _OTHERS)
            apart = bits_apart(phash[sample], phash[sample])
            np.fill_diagonal(apart, BITS_APART)
            limits[rows] = _limit(apart.min(axis=1))


def _limit(nearest: npt.NDArray[np.int64]) -> int:
    """The most bits at which a picture is a copy, from those to the most alike pictures that are none; -1 for none."""
    middle = float(np.median(nearest))
    return min(NEAR_BITS, int(middle) // _PART) if middle >= _ROOM else -1


def _same_bytes(exact: Clusters, rows: Rows, others: Rows) -> npt.NDArray[np.bool_]:
    """Which of ``others`` are copies of which of ``rows``, bool (rows, others): they are no evidence of a scene."""
    same: npt.NDArray[np.bool_] = (exact.of[rows][:, None] == exact.of[others]) & (exact.of[rows] >= 0)[:, None]
    return same


def _distinct(rows: Rows, exact: Clusters) -> Rows:
    """One of each content."""
    of = exact.of[rows]
    return rows[np.unique(np.where(of < 0, -1 - rows, of), return_index=True)[1]]


def _spread(rows: Rows, most: int) -> Rows:
    return rows[:: max(1, -(-len(rows) // most))]
