"""A picture cut into pieces of like colour: SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120).

Parameters mean what they mean in scikit-image, whose ``slic`` SageMaker Clarify calls. It would bring scipy, networkx
and 60 MB for these hundred lines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_ROUNDS = 10
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
    height, width = pixels.shape[:2]
    lab = _lab(pixels) / compactness
    step = max(1.0, (height * width / segments) ** 0.5)
    down, across = max(1, round(height / step)), max(1, round(width / step))
    rows = (np.arange(down) + 0.5) * height / down
    columns = (np.arange(across) + 0.5) * width / across
    centres = np.stack([grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij")], axis=1)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    points = np.concatenate([lab, (y / step)[..., None], (x / step)[..., None]], axis=2)
    at = centres.astype(np.int64)
    means = np.concatenate([lab[at[:, 0], at[:, 1]], centres / step], axis=1)
    labels = np.zeros((height, width), np.int64)
    for _ in range(_ROUNDS):
        nearest = np.full((height, width), np.inf)
        for k, mean in enumerate(means):
            top, left = (int(max(0, place * step - 2 * step)) for place in mean[3:])
            window = np.s_[top : int(mean[3] * step + 2 * step) + 1, left : int(mean[4] * step + 2 * step) + 1]
            distance = ((points[window] - mean) ** 2).sum(axis=2)
            closer = distance < nearest[window]
            nearest[window][closer] = distance[closer]
            labels[window][closer] = k
        counts = np.bincount(labels.ravel(), minlength=len(means))
        sums = [np.bincount(labels.ravel(), points[..., c].ravel(), len(means)) for c in range(5)]
        means = np.where(counts[:, None] > 0, np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None], means)
    return _connected(labels, _SMALLEST * height * width / len(means), lab)


def _connected(labels: Labels, least: float, lab: npt.NDArray[np.float64]) -> Labels:
    """Pieces that hang together, small ones joined to the neighbour whose mean colour is nearest."""
    pieces = _components(labels)
    while True:
        sizes = np.bincount(pieces.ravel())
        small = int(sizes.argmin())
        if len(sizes) == 1 or sizes[small] >= least:
            return pieces
        sides = ((pieces[:, :-1], pieces[:, 1:]), (pieces[:-1], pieces[1:]))
        beside = [other[one == small] for a, b in sides for one, other in ((a, b), (b, a))]
        neighbours = np.setdiff1d(np.concatenate(beside), [small])
        means = [np.bincount(pieces.ravel(), lab[..., channel].ravel()) / sizes for channel in range(3)]
        gaps = sum((mean[neighbours] - mean[small]) ** 2 for mean in means)
        pieces[pieces == small] = neighbours[int(np.argmin(gaps))]
        pieces = np.unique(pieces, return_inverse=True)[1].reshape(labels.shape)


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
