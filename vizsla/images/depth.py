"""Pictures with more than 8 bits a sample."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vizsla.errors import ImageError


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits (65535 becomes 255, rounded); other 8-bit modes come back as they are.

    Pillow's own ``convert`` clips 16-bit values to 255, which turns such pictures white.

    Raises
    ------
    ImageError
        ``unsupported``, for 32-bit integer samples that PNG did not bound to 16 bits, and for floating point.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        samples = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((samples + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ImageError(
            "unsupported",
            f"Pixels of type {image.mode} have no known range.",
            do="convert the picture to 8 or 16 bits a channel",
        )
    return image
