"""Drawing splits: stratified by class, whole groups, seeded, the same on every machine, and frozen once drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Split

DEFAULT_SHARE = 0.15
"""Share of each class that becomes the valid split, and the test split, where the source has none."""

UNDRAWN = -1
"""In ``frozen``: a picture that no earlier draw has placed."""

Codes = npt.NDArray[np.int8]


def carve(
    paths: Sequence[str],
    labels: npt.NDArray[np.int32],
    splits: Codes,
    wanted: Sequence[Split],
    seed: int,
    groups: npt.NDArray[np.int32] | None = None,
    frozen: Codes | None = None,
) -> Codes:
    """Move a share of every class from the train split into each of the ``wanted`` splits.

    Within a class the groups are ordered by a hash of seed and the group's first path, so that the draw does not
    depend on the order of the table. A class of at least ``len(wanted) + 1`` groups reaches every split. A group
    counts for the class that most of its pictures have.

    Parameters
    ----------
    groups:
        int32 (n,): pictures that stay together. Each picture alone by default.
    frozen:
        int8 (n,): the split that an earlier run gave, or :data:`UNDRAWN`. Pictures in train keep it, whether that
        split is wanted or not; new pictures of a placed group follow the group; the others fill what the shares
        still lack.

    Returns
    -------
    The new split codes, int8 of shape (n,).
    """
    train = SPLITS.index("train")
    splits = splits.copy()
    codes = [SPLITS.index(split) for split in wanted]
    free = splits == train
    if frozen is not None:
        placed = free & (frozen != UNDRAWN)
        splits[placed] = frozen[placed]
        free &= ~placed
        if groups is not None and placed.any():
            _follow(splits, free, placed, groups)
    if not codes:
        return splits
    owners = labels if groups is None else _owners(labels, groups)
    for label in np.unique(owners):
        members = np.flatnonzero((owners == label) & np.isin(splits, [train, *codes]))
        units = _units(members[free[members]], groups, paths, seed)
        have = {code: int((splits[members] == code).sum()) for code in codes}
        fixed = int((splits[members] == train).sum() - free[members].sum())
        spare = len(units) - (0 if fixed else 1)
        at = 0
        for position, code in enumerate(codes):
            others = sum(1 for later in codes[position + 1 :] if not have[later])
            target = max(1, round(DEFAULT_SHARE * len(members)))
            while have[code] < target and spare > others and at < len(units):
                splits[units[at]] = code
                have[code] += len(units[at])
                at, spare = at + 1, spare - 1
    return splits


def _follow(
    splits: Codes, free: npt.NDArray[np.bool_], placed: npt.NDArray[np.bool_], groups: npt.NDArray[np.int32]
) -> None:
    """Place new pictures of a group where its old ones are."""
    home = np.full(int(groups.max()) + 1, UNDRAWN, np.int8)
    np.maximum.at(home, groups[placed], splits[placed])
    followers = np.flatnonzero(free & (home[groups] != UNDRAWN))
    splits[followers] = home[groups[followers]]
    free[followers] = False


def _owners(labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """For each picture the class that its group counts for."""
    order = np.lexsort((labels, groups))
    g, c = groups[order].astype(np.int64), labels[order].astype(np.int64)
    starts = np.flatnonzero((np.diff(g, prepend=-1) != 0) | (np.diff(c, prepend=-1) != 0))
    counts = np.diff(starts, append=len(g))
    owner = np.zeros(int(groups.max()) + 1, np.int32)
    by_count = np.argsort(counts, kind="stable")
    owner[g[starts[by_count]]] = c[starts[by_count]]  # the largest is written last
    return owner[groups]


def _units(
    rows: npt.NDArray[np.int64], groups: npt.NDArray[np.int32] | None, paths: Sequence[str], seed: int
) -> list[npt.NDArray[np.int64]]:
    """The groups that ``rows`` make up, in the order of the draw."""
    if not len(rows):
        return []
    if groups is None:
        order = np.argsort(np.array([draw(seed, paths[int(row)]) for row in rows], np.uint64), kind="stable")
        return [rows[at : at + 1] for at in order]
    order = np.argsort(groups[rows], kind="stable")
    rows = rows[order]
    starts = np.flatnonzero(np.diff(groups[rows], prepend=-1))
    units = np.split(rows, starts[1:])
    return sorted(units, key=lambda unit: draw(seed, min(paths[int(row)] for row in unit)))


def draw(seed: int, path: str) -> int:
    """A number of 64 bits that seed and path decide: the picture's place in a random order."""
    digest = hashlib.blake2b(f"{seed}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
