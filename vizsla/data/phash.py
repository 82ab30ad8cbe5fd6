"""A perceptual hash of 256 bits: pictures that look alike differ in few bits.

The lowest 16 x 16 frequencies of the cosine transform of a 64 x 64 gray picture, each compared with their median
(Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2, there with 8 x 8).
Measured on 3,888 photos of flowers (docs/data.md): re-saving, halving or brightening a photo changes at most 28
bits (24 in 99 %), while two different photos rarely come below 60.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE, _KEPT = 64, 16
_FLAT = 2.0
"""Standard deviation in grey levels below which a picture shows nothing that could be compared."""

_COSINES: npt.NDArray[np.float32] = np.cos(
    np.pi * (2 * np.arange(_SIDE) + 1)[None, :] * np.arange(_KEPT)[:, None] / (2 * _SIDE)
).astype(np.float32)


def phash(image: Image.Image) -> npt.NDArray[np.uint64]:
    """The hash of an RGB picture, uint64 of shape (4,); all zero for a flat one, which is like no other."""
    gray = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32)
    if gray.std() < _FLAT:
        return np.zeros(4, np.uint64)
    frequencies = (_COSINES @ gray @ _COSINES.T).ravel()
    bits = frequencies > np.median(frequencies[1:])
    return np.packbits(bits).view(np.uint64)
