"""Folds for cross-validation: every class dealt out evenly, groups never parted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def fold_of(
    rows: Rows, labels: npt.NDArray[np.int32], groups: npt.NDArray[np.int32] | None, folds: int, seed: int
) -> Rows:
    """The fold of each of ``rows``, int64 (len(rows),) from 0 on.

    Parameters
    ----------
    labels, groups:
        By table row, (n,); pictures of one group lie in one fold (None: each picture is a group).
    """
    _, first, unit = np.unique(rows if groups is None else groups[rows], return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(labels[rows[first]][order], kind="stable")]
    dealt = np.empty(len(first), np.int64)
    dealt[order] = np.arange(len(first)) % folds
    return dealt[unit]
