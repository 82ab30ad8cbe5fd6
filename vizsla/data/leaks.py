"""Pictures that lie in several splits: which of them must not be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from vizsla.data.checks import Facts
from vizsla.data.dataset import SPLITS
from vizsla.data.duplicates import Clusters, Rows, close

LEAKS = ("leak-exact", "leak-near", "leak-group")
"""The findings that this is about."""

Closest = Callable[[Rows, Rows], npt.NDArray[np.int64]]
"""For each of some rows, the position of the first of the other rows that it is a copy of; -1 for none."""


def leaks(facts: Facts, live: npt.NDArray[np.bool_], keep: npt.NDArray[np.bool_]) -> dict[int, str]:
    """The pictures to leave out so that no copy is left in another split, each with the reason.

    The picture that is furthest from training stays. A near copy is left out when it is close to a picture that
    stays, not because a chain of others leads there.

    Parameters
    ----------
    live:
        bool (n,): the pictures that would be used; others are no reason to leave one out.
    keep:
        bool (n,): those that stay whatever they are copies of.
    """
    live, reasons = live.copy(), dict[int, str]()
    kinds: Mapping[str, tuple[Clusters, Closest]] = {
        "leak-exact": (facts.exact, _any),
        "leak-near": (
            facts.near.clusters,
            lambda rows, others: close(facts.scan.records["phash"], rows, others, int(facts.near.limits[rows[0]])),
        ),
        "leak-group": (facts.groups, _any),
    }
    splits, paths = facts.dataset.splits, facts.dataset.paths
    across = {name: (_across(clusters, splits), closest) for name, (clusters, closest) in kinds.items()}
    for code in range(len(SPLITS) - 2, -1, -1):  # the last decided first: what is left out drags nothing along
        for name, (sets, closest) in across.items():
            for members in sets:
                used = members[live[members]]
                rows, later = used[(splits[used] == code) & ~keep[used]], used[splits[used] > code]
                if not len(rows) or not len(later):
                    continue
                later = later[np.argsort(-splits[later], kind="stable")]
                at = closest(rows, later)
                for row, other in zip(rows[at >= 0].tolist(), later[at[at >= 0]].tolist(), strict=True):
                    reasons[row] = f"{name}: {paths[other]} is in another split"
                live[rows[at >= 0]] = False
    return reasons


def _across(clusters: Clusters, splits: npt.NDArray[np.int8]) -> list[Rows]:
    return [rows for rows in clusters.members() if np.ptp(splits[rows]) > 0]


def _any(rows: Rows, others: Rows) -> npt.NDArray[np.int64]:
    return np.zeros(len(rows), np.int64)
