"""Which pictures make up each batch: decided by seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


def batches(
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int32],
    batch_size: int,
    seed: int,
    epoch: int,
    *,
    balanced: bool = False,
) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of one epoch, batch by batch; the last batch may be smaller.

    Plain: every row once, shuffled. ``balanced``: as many draws as there are rows, every class equally often;
    rows of a rare class come again only after all of that class were drawn.
    """
    rng = np.random.default_rng([seed, epoch])
    order = _balanced(rows, labels, rng) if balanced else rng.permutation(rows)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _balanced(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int32], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    present = np.unique(labels[rows])
    each = -(-len(rows) // len(present))
    drawn = []
    for label in present:
        own = rows[labels[rows] == label]
        passes = [rng.permutation(own) for _ in range(-(-each // len(own)))]
        drawn.append(np.concatenate(passes)[:each])
    order: npt.NDArray[np.int64] = rng.permutation(np.concatenate(drawn))[: len(rows)]
    return order
