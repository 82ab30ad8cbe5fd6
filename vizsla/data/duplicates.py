"""Pictures that are the same, and pictures that look the same.

Hashes of 256 bits are cut into 16 bands of 16 bits. Two hashes that differ in at most 15 bits agree in at least
one band (pigeonhole); at 24 bits, 98 in 100 still do (all, where the changes gather in the high frequencies, as
those of re-saving do). So each band is sorted, and only pictures that share a band are compared bit by bit
(multi-index hashing: Norouzi, Punjani, Fleet, CVPR 2012). Memory is a few words a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

NEAR_BITS = 24
"""Most bits in which two hashes of pictures that look the same differ."""

_BANDS = 16
_BLOCK = 1 << 18
_MOST_BUCKET = 4096
_BITS_OF_16: npt.NDArray[np.uint8] = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """Which pictures belong together: ``of`` is int32 (n,), the cluster of each row, -1 for a picture alone."""

    of: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.of.max(initial=-1)) + 1

    def members(self) -> list[Rows]:
        """The rows of each cluster."""
        rows = np.flatnonzero(self.of >= 0)
        rows = rows[np.argsort(self.of[rows], kind="stable")]
        if not len(rows):
            return []
        return np.split(rows, np.flatnonzero(np.diff(self.of[rows])) + 1)


def exact(sha256: npt.NDArray[np.uint8], readable: npt.NDArray[np.bool_]) -> Clusters:
    """Clusters of readable pictures with the same bytes; ``sha256`` is (n, 32) uint8."""
    of = np.full(len(sha256), -1, np.int32)
    rows = np.flatnonzero(readable)
    words = np.ascontiguousarray(sha256[:, :8]).view(np.uint64)[rows, 0]
    order = np.argsort(words, kind="stable")
    new = np.diff(words[order], prepend=words[order][:1]) != 0
    number = np.cumsum(new)
    counts = np.bincount(number)
    shared = counts[number] > 1
    _, of[rows[order][shared]] = np.unique(number[shared], return_inverse=True)
    return Clusters(of)


def near(
    phash: npt.NDArray[np.uint64], readable: npt.NDArray[np.bool_], bits: int = NEAR_BITS
) -> tuple[Clusters, npt.NDArray[np.int16]]:
    """Clusters of pictures whose hashes differ in at most ``bits`` bits, directly or through others.

    Parameters
    ----------
    phash:
        (n, 4) uint64; rows of zeros (flat pictures) are like no other.

    Returns
    -------
    The clusters (exact copies are in them), and for each row the bits to the most alike other one, int16 (n,).
    """
    rows = np.flatnonzero(readable & phash.any(axis=1))
    of, closest = np.full(len(phash), -1, np.int32), np.full(len(phash), -1, np.int16)
    if not len(rows):
        return Clusters(of), closest
    # Copies of one hash stand for one another: a thousand copies are not half a million pairs.
    first, copy_of = _distinct(phash, rows)
    copies = np.bincount(copy_of)
    hashes = phash[rows[first]]
    parent, pairs = _unions(hashes, bits)
    root = parent[copy_of]
    _, label, sizes = np.unique(root, return_inverse=True, return_counts=True)
    among = sizes[label] > 1
    _, of[rows[among]] = np.unique(label[among], return_inverse=True)
    least = np.where(copies > 1, 0, BITS_APART).astype(np.int16)
    for side in (0, 1):
        np.minimum.at(least, pairs[:, side], pairs[:, 2].astype(np.int16))
    closest[rows[among]] = least[copy_of[among]]
    return Clusters(of), closest


def close(phash: npt.NDArray[np.uint64], rows: Rows, others: Rows, bits: int = NEAR_BITS) -> npt.NDArray[np.int64]:
    """For each of ``rows`` the position in ``others`` of the first whose hash differs in at most ``bits`` bits.

    Returns
    -------
    int64 (len(rows),); -1 where there is none.
    """
    matches = np.full(len(rows), -1, np.int64)
    step = max(1, _BLOCK // max(1, len(others)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        near = bits_apart(phash[part], phash[others]) <= bits
        matches[start : start + step] = np.where(near.any(axis=1), near.argmax(axis=1), -1)
    return matches


def bits_apart(first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Bits in which each of (n, 4) hashes differs from each of (m, 4) others, int64 (n, m)."""
    bits: npt.NDArray[np.int64] = _count(first[:, None] ^ second[None]).reshape(len(first), len(second), 4).sum(axis=2)
    return bits


def together(clusterings: Sequence[npt.NDArray[np.int32] | None]) -> npt.NDArray[np.int32] | None:
    """Pictures connected by any of the clusterings (-1 is alone) as one numbering, int32 (n,); None for none."""
    real = [of for of in clusterings if of is not None and (of >= 0).any()]
    if not real:
        return None
    n = len(real[0])
    label = np.arange(n)
    while True:  # each turn carries the smallest number through every cluster
        before = label.copy()
        for of in real:
            rows = np.flatnonzero(of >= 0)
            least = np.full(int(of.max()) + 1, n)
            np.minimum.at(least, of[rows], label[rows])
            label[rows] = least[of[rows]]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1].astype(np.int32)


def joined(first: Clusters, second: Clusters) -> Clusters:
    """Clusters of what either of the two connects."""
    of = np.full(len(first.of), -1, np.int32)
    number = together([first.of, second.of])
    if number is not None:
        rows = np.flatnonzero(np.bincount(number)[number] > 1)
        of[rows] = np.unique(number[rows], return_inverse=True)[1]
    return Clusters(of)


BITS_APART = 256
"""More bits than any two hashes that are called alike differ in."""


def _distinct(phash: npt.NDArray[np.uint64], rows: Rows) -> tuple[Rows, Rows]:
    """Positions in ``rows`` of the first picture of each hash, and for each picture the number of its hash."""
    mixed = np.zeros(len(rows), np.uint64)  # sorting 64 bits takes a quarter of the memory that 256 take
    for column in range(4):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + phash[rows, column]
    order = np.argsort(mixed, kind="stable")
    new = np.diff(mixed[order], prepend=~mixed[order[:1]]) != 0
    number = np.empty(len(rows), np.int64)
    number[order] = np.cumsum(new) - 1
    return order[new], number


def _unions(hashes: npt.NDArray[np.uint64], bits: int) -> tuple[npt.NDArray[np.int64], Rows]:
    """Unite hashes (u, 4) that differ in at most ``bits`` bits, bucket by bucket.

    Pairs that are known to be connected are not compared: a burst of thousands is not millions of pairs.

    Returns
    -------
    A representative for each hash, int64 (u,), and the pairs that were compared and are close: (pairs, 3) of row,
    row, bits.
    """
    parent = np.arange(len(hashes))
    matches: list[Rows] = []
    bands = hashes.view(np.uint16)
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        at, grown = np.arange(len(order)), False
        for step in range(1, _MOST_BUCKET):
            if step & (step - 1) == 0 and (grown or step == 1) and matches:
                parent, grown = _flat(parent), False
                at = at[_mixed(values, parent[order])[at]]
            at = at[at < len(order) - step]
            at = at[values[at] == values[at + step]]
            if not len(at):
                break
            for start in range(0, len(at), _BLOCK):
                part = at[start : start + _BLOCK]
                a, b = order[part], order[part + step]
                if matches:
                    apart = parent[a] != parent[b]
                    a, b = a[apart], b[apart]
                pairs = _verified(hashes, a, b, bits)
                if len(pairs):
                    _unite(parent, pairs)
                    matches.append(pairs)
                    grown = True
    return _flat(parent), np.concatenate(matches) if matches else np.zeros((0, 3), np.int64)


def _mixed(values: npt.NDArray[np.uint16], roots: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which members of the buckets (equal, sorted values) lie in a bucket that is not yet all connected."""
    new = np.diff(values, prepend=~values[:1]) != 0
    starts, number = np.flatnonzero(new), np.cumsum(new) - 1
    mixed: npt.NDArray[np.bool_] = (np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts))[number]
    return mixed


def _flat(parent: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Every node with its root."""
    while not np.array_equal(above := parent[parent], parent):
        parent = above
    return parent


def _verified(hashes: npt.NDArray[np.uint64], a: Rows, b: Rows, bits: int) -> Rows:
    """Those of the pairs that really are close. One word is looked at first: it rules most of them out."""
    close = _count(hashes[a, 1] ^ hashes[b, 1]) <= bits
    a, b = a[close], b[close]
    distance = _count(hashes[a] ^ hashes[b]).reshape(len(a), 4).sum(axis=1)
    near = distance <= bits
    a, b = a[near], b[near]
    return np.column_stack([np.minimum(a, b), np.maximum(a, b), distance[near]])


def _count(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Bits set in each word."""
    flat = np.ascontiguousarray(words).reshape(-1)
    counts: npt.NDArray[np.int64] = _BITS_OF_16[flat.view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return counts


def _unite(parent: npt.NDArray[np.int64], pairs: Rows) -> None:
    """Connect what the pairs connect, in place."""

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = int(parent[i])
        return i

    for a, b, _ in pairs.tolist():
        first, second = root(a), root(b)
        parent[max(first, second)] = min(first, second)
