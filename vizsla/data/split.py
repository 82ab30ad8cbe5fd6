"""Drawing splits: stratified by class, seeded, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vizsla.data.dataset import SPLITS, Split

DEFAULT_SHARE = 0.15
"""Share of each class that becomes the valid split, and the test split, where the source has none."""


def carve(
    paths: Sequence[str],
    labels: npt.NDArray[np.int32],
    splits: npt.NDArray[np.int8],
    wanted: Sequence[Split],
    seed: int,
    share: float = DEFAULT_SHARE,
) -> npt.NDArray[np.int8]:
    """Move a share of every class from the train split into each of the ``wanted`` splits.

    Within a class the pictures are ordered by a hash of seed and path, so that the draw does not depend on the
    order of the table. A class of at least ``len(wanted) + 1`` pictures reaches every split.

    Returns
    -------
    The new split codes, int8 of shape (n,).
    """
    splits = splits.copy()
    train = SPLITS.index("train")
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & (splits == train))
        rows = rows[np.argsort([draw(seed, paths[int(row)]) for row in rows])]
        spare = len(rows) - 1
        start = 0
        for position, split in enumerate(wanted):
            others = len(wanted) - position - 1
            count = min(max(1, round(share * len(rows))), max(0, spare - others))
            splits[rows[start : start + count]] = SPLITS.index(split)
            start, spare = start + count, spare - count
    return splits


def draw(seed: int, path: str) -> int:
    """A number of 64 bits that seed and path decide: the picture's place in a random order."""
    digest = hashlib.blake2b(f"{seed}\0{path}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
