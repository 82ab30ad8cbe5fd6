"""A picture cut into pieces of like colour: SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120).

Parameters mean what they mean in scikit-image, whose ``slic`` SageMaker Clarify calls. It would bring scipy, networkx
and 60 MB for these hundred lines.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

_ROUNDS = 10
_SIDE = 112
"""Pixels of the shorter side that are looked at: of a usual model's input every second one, in a quarter of the
time."""
_SMALLEST = 0.5
"""Pieces below this share of the mean size become part of a neighbour."""
_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])

Labels = npt.NDArray[np.int64]


def superpixels(pixels: npt.NDArray[np.uint8], segments: int = 20, compactness: float = 5.0) -> Labels:
    """The piece of each pixel, int64 (h, w) from 0 on; each piece hangs together.

    Parameters
    ----------
    pixels:
        RGB, (h, w, 3).
    segments:
        About how many pieces.
    compactness:
        How much nearness counts beside likeness of colour (CIELAB): large values give squares.
    """
    stride = max(1, min(pixels.shape[:2]) // _SIDE)
    coarse = _cut(pixels[::stride, ::stride], segments, compactness)
    large = coarse.repeat(stride, axis=0).repeat(stride, axis=1)
    return large[: pixels.shape[0], : pixels.shape[1]]


def _cut(pixels: npt.NDArray[np.uint8], segments: int, compactness: float) -> Labels:
    height, width = pixels.shape[:2]
    lab = _lab(pixels) / compactness
    step = max(1.0, (height * width / segments) ** 0.5)
    down, across = max(1, round(height / step)), max(1, round(width / step))
    rows = (np.arange(down) + 0.5) * height / down
    columns = (np.arange(across) + 0.5) * width / across
    centres = np.stack([grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij")], axis=1)
    y, x = (np.arange(side) / step for side in (height, width))
    places = np.stack(np.meshgrid(y, x, indexing="ij"), axis=2)
    points = np.ascontiguousarray(np.concatenate([lab, places], axis=2).reshape(-1, 5).T, np.float32)
    at = centres.astype(np.int64)
    means = np.concatenate([lab[at[:, 0], at[:, 1]], centres / step], axis=1)
    for _ in range(_ROUNDS):
        labels = _nearest(means.astype(np.float32), points, y, x)
        counts = np.bincount(labels, minlength=len(means))
        sums = [np.bincount(labels, row, len(means)) for row in points]
        means = np.where(counts[:, None] > 0, np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None], means)
    labels = labels.reshape(height, width)
    return _connected(labels, _SMALLEST * height * width / len(means), lab)


def _nearest(
    means: npt.NDArray[np.float32],
    points: npt.NDArray[np.float32],
    y: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
) -> Labels:
    """The nearest of the means (k, 5) to each of the points (5, n), among those within two steps of it."""
    distance = (means**2).sum(axis=1)[:, None] - 2 * (means @ points)
    maps = distance.reshape(len(means), len(y), len(x))
    maps += np.where(np.abs(y - means[:, 3, None]) > 2, np.float32(np.inf), np.float32(0))[:, :, None]
    maps += np.where(np.abs(x - means[:, 4, None]) > 2, np.float32(np.inf), np.float32(0))[:, None, :]
    labels, least = np.zeros(points.shape[1], np.int64), distance[0].copy()
    for k in range(1, len(means)):
        closer = distance[k] < least
        labels[closer] = k
        np.minimum(least, distance[k], out=least)
    return labels


def _connected(labels: Labels, least: float, lab: npt.NDArray[np.float64]) -> Labels:
    """Pieces that hang together, small ones joined, the smallest first, to the neighbour of the nearest mean colour."""
    pieces = _components(labels)
    sizes = np.bincount(pieces.ravel()).astype(np.float64)
    colours = np.stack([np.bincount(pieces.ravel(), lab[..., channel].ravel()) for channel in range(3)], axis=1)
    beside = _neighbours(pieces)
    into = np.arange(len(sizes))
    waiting = [(size, piece) for piece, size in enumerate(sizes.tolist())]
    heapq.heapify(waiting)
    while waiting:
        size, piece = heapq.heappop(waiting)
        if into[piece] != piece or size != sizes[piece]:
            continue  # it is part of another, or has grown
        if size >= least or not beside[piece]:
            break
        others = np.array(sorted(beside[piece]))
        gaps = colours[others] / sizes[others, None] - colours[piece] / size
        target = int(others[(gaps**2).sum(axis=1).argmin()])
        into[piece] = target
        sizes[target] += size
        colours[target] += colours[piece]
        for other in beside[piece]:
            beside[other].discard(piece)
            if other != target:
                beside[other].add(target)
                beside[target].add(other)
        heapq.heappush(waiting, (float(sizes[target]), target))
    while not np.array_equal(into, into[into]):
        into = into[into]
    return np.unique(into[pieces], return_inverse=True)[1].reshape(labels.shape)


def _neighbours(pieces: Labels) -> list[set[int]]:
    """The pieces that each piece touches."""
    pairs = np.concatenate(
        [
            np.stack([a.ravel(), b.ravel()], axis=1)
            for a, b in ((pieces[:, :-1], pieces[:, 1:]), (pieces[:-1], pieces[1:]))
        ]
    )
    beside: list[set[int]] = [set() for _ in range(int(pieces.max()) + 1)]
    for one, other in np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist():
        beside[one].add(other)
        beside[other].add(one)
    return beside


def _components(labels: Labels) -> Labels:
    """Connected pieces of equal labels (4 neighbours), from 0 on: the least index spreads, with pointer jumping."""
    least = np.arange(labels.size).reshape(labels.shape)
    down, across = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    while True:
        before = least.copy()
        for same, a, b in ((down, least[:-1], least[1:]), (across, least[:, :-1], least[:, 1:])):
            low = np.minimum(a, b)
            np.copyto(a, low, where=same)
            np.copyto(b, low, where=same)
        least = least.ravel()[least]
        if np.array_equal(before, least):
            return np.unique(least, return_inverse=True)[1].reshape(labels.shape)


def _lab(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """sRGB to CIELAB with the white of D65 (IEC 61966-2-1; CIE 15)."""
    rgb = pixels / 255.0
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
