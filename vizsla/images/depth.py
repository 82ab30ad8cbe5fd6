"""Pictures with more than 8 bits a sample."""

from __future__ import annotations

import numpy as np
from PIL import Image


class UnknownRangeError(Exception):
    """Samples without a known range (32-bit integers, floating point); the text names Pillow's mode."""


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits (65535 becomes 255, rounded); other 8-bit modes come back as they are.

    Pillow's own ``convert`` clips 16-bit values to 255, which turns such pictures white.

    Raises
    ------
    UnknownRangeError
        For 32-bit integer samples that PNG did not bound to 16 bits, and for floating point.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        samples = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((samples + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnknownRangeError(image.mode)
    return image
