"""Near copies: the same clusters as by comparing every pair, and bounded memory where thousands look alike."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from vizsla.data.checks import Facts
from vizsla.data.dataset import Dataset
from vizsla.data.duplicates import NEAR_BITS, Clusters, near
from vizsla.data.inspection import RECORD
from vizsla.data.leaks import leaks
from vizsla.data.near_copies import NearCopies


def changed(rng, hash_, bits):
    """A hash with some bits turned over."""
    flipped = np.unpackbits(hash_.view(np.uint8))
    flipped[rng.choice(256, bits, replace=False)] ^= 1
    return np.packbits(flipped).view(np.uint64)


def families(rng, n, size, bits):
    parents = rng.integers(1, 2**64, (n, 4), dtype=np.uint64)
    return np.concatenate([[parent, *(changed(rng, parent, bits) for _ in range(size - 1))] for parent in parents])


@pytest.mark.parametrize("seed", range(3))
def test_the_clusters_are_those_of_comparing_every_pair(seed):
    rng = np.random.default_rng(seed)
    hashes = np.concatenate([families(rng, 40, 6, 7), rng.integers(1, 2**64, (200, 4), dtype=np.uint64)])
    hashes = hashes[rng.permutation(len(hashes))]
    bits = np.unpackbits(hashes.view(np.uint8).reshape(len(hashes), -1), axis=1).astype(np.int16)
    alike = (bits[:, None] != bits[None]).sum(axis=2) <= 15
    reached = alike.copy()
    for _ in range(5):
        reached = reached.astype(np.float32) @ reached.astype(np.float32) > 0
    found, least = near(hashes, np.ones(len(hashes), bool), 15)
    same = (found.of[:, None] == found.of[None]) & (found.of >= 0)[:, None]
    np.fill_diagonal(same, True)
    assert np.array_equal(same, reached)
    assert ((least >= 0) == (alike.sum(axis=1) > 1)).all()
    assert len(found) == 40


def test_thousands_of_near_copies_take_little_memory():
    rng = np.random.default_rng(0)
    hashes = families(rng, 1, 3000, 4)
    tracemalloc.start()
    found, _ = near(hashes, np.ones(len(hashes), bool))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 1
    assert (found.of == 0).all()
    assert peak < 100e6


def test_a_chain_of_near_copies_does_not_empty_train():
    rng = np.random.default_rng(0)
    order = rng.permutation(256)
    bits = rng.integers(0, 2, 256).astype(np.uint8)
    chain = [bits.copy()]
    for i in range(12):  # each is near the next, and far from the one after that
        bits[order[20 * i : 20 * i + 20]] ^= 1
        chain.append(bits.copy())
    records = np.zeros(13, RECORD)
    records["phash"] = np.packbits(np.array(chain), axis=1).view(np.uint64)
    clusters, least = near(records["phash"], np.ones(13, bool))
    assert len(clusters) == 1
    splits = np.array([0] * 12 + [2], np.int8)
    dataset = Dataset("d", None, ("a",), [f"{i}.jpg" for i in range(13)], np.zeros(13, np.int32), splits)
    alone = Clusters(np.full(13, -1, np.int32))
    limits = np.full(13, NEAR_BITS, np.int16)
    copies = NearCopies(clusters, least, limits, alone)
    facts = Facts(dataset, SimpleNamespace(records=records), alone, copies, alone)
    gone = leaks(facts, np.ones(13, bool), np.zeros(13, bool))
    assert gone == {11: "leak-near: 12.jpg is in another split"}
