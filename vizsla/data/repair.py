"""The intact part of truncated pictures, as copies: the files themselves are never touched."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import ImageFile

from vizsla.errors import ImageError
from vizsla.files import write_bytes
from vizsla.images import Limits, decode, read_file

INTACT_SHARE = 0.5
"""Share of the rows of pixels that must have arrived."""


def repair(path: Path, folder: Path, limits: Limits) -> Path | None:
    """Write the rows of a truncated picture that have arrived to a PNG in ``folder``.

    Rows that never arrived are cut off, not made up. Not for use while other threads decode: for its duration
    Pillow is told to accept truncated files, which holds for the whole process.

    Returns
    -------
    The copy; None when less than half of the picture has arrived or it is broken in another way.
    """
    try:
        data = read_file(path, limits)
    except ImageError:
        return None
    copy = folder / f"{hashlib.sha256(data).hexdigest()[:32]}.png"
    if copy.is_file():
        return copy
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        image = decode(data, limits).image
    except ImageError:
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
    rows = _arrived(np.asarray(image))
    if rows < INTACT_SHARE * image.height:
        return None
    file = io.BytesIO()
    image.crop((0, 0, image.width, rows)).save(file, "PNG", compress_level=1)
    write_bytes(copy, file.getvalue(), make_folder=True)
    return copy


def _arrived(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """Rows before the even area (black or gray, as decoders leave it) at the bottom, less a margin of 16."""
    even = (pixels == pixels[-1, -1]).all(axis=(1, 2))
    last = int(np.flatnonzero(~even)[-1]) + 1 if not even.all() else 0
    return max(0, last - 16) // 8 * 8
