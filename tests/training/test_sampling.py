"""Batches are decided by seed and epoch; every row comes once, or every class equally often."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vizsla.training.sampling import batches


@given(n=st.integers(1, 60), size=st.integers(1, 70), seed=st.integers(0, 5), epoch=st.integers(0, 5))
def test_every_row_once_in_batches_of_the_size(n: int, size: int, seed: int, epoch: int) -> None:
    rows = np.arange(100, 100 + n)
    found = list(batches(rows, np.zeros(200, np.int32), size, seed, epoch))
    assert sorted(np.concatenate(found)) == list(rows)
    assert all(len(batch) == size for batch in found[:-1])


def test_seed_and_epoch_decide() -> None:
    rows, labels = np.arange(50), np.zeros(50, np.int32)

    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(list(batches(rows, labels, 8, seed, epoch))))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=5), seed=st.integers(0, 3))
def test_balanced_sampling_draws_every_class_equally_often(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    rows = np.arange(len(labels))
    drawn = np.concatenate(list(batches(rows, labels, 16, seed, 1, balanced=True)))
    assert len(drawn) == len(rows)
    each = -(-len(rows) // len(counts))
    per_class = np.bincount(labels[drawn], minlength=len(counts))
    assert (per_class <= each).all()
    assert per_class.sum() == len(rows)
    for label in range(len(counts)):  # a row comes again only after all of its class were drawn
        times = np.bincount(drawn[labels[drawn] == label], minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1 + each * len(counts) - len(rows)  # what rounding up drew too many
