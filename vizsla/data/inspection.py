"""What one look at a picture's bytes tells."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.data import quality
from vizsla.data.phash import phash
from vizsla.data.remarks import STRAY_BYTES, hearing, remark
from vizsla.images import DecodedImage, Limits, decode, readable_formats
from vizsla.images.formats import FORMATS

MODES = ("RGB", "L", "RGBA", "CMYK", "P", "LA", "PA", "1", "I;16", "I", "F", "YCbCr", "LAB", "HSV", "other")
"""Pillow's names of how pixels are stored; their positions are the codes in :data:`RECORD`."""

RECORD = np.dtype(
    [
        ("sha256", np.uint8, 32),
        ("phash", np.uint64, 4),
        ("bytes", np.int64),
        ("width", np.int32),
        ("height", np.int32),
        ("format", np.uint8),
        ("mode", np.uint8),
        ("animated", np.bool_),
        ("remark", np.uint8),
        ("scores", np.float32, 4),
    ]
)
"""One picture that can be read. ``remark`` is a code of :data:`vizsla.data.remarks.REMARKS`; ``scores`` are those of
:data:`vizsla.data.quality.ISSUES`, NaN where not computed."""

Record = npt.NDArray[np.void]

_SEVERAL = ("JPEG", "MPO", "HEIF")
"""Formats that may hold several pictures and no film."""

SHORT_SIDE = 256
"""Pixels of the shorter side that the hash needs: four for each of its cells."""


@dataclass(frozen=True)
class Inspection:
    """What one look tells: the ``record`` (shape (), without its scores), the raw numbers that
    :func:`vizsla.data.quality.scores` wants (None where quality is not asked for), and the picture itself."""

    record: Record
    statistics: dict[str, Any] | None
    decoded: DecodedImage


def inspect(data: bytes, limits: Limits, *, with_quality: bool, short_side: int = SHORT_SIDE) -> Inspection:
    """Decode a picture and describe it: a large JPEG at a reduced scale, unless its quality is scored.

    Damage is found all the same, as every byte is read; the hash differs in a few of its 256 bits. ``short_side`` is
    what the shorter side must keep of its pixels, at least :data:`SHORT_SIDE`.

    Raises
    ------
    ImageError
        When the picture cannot be read, or its decoder says that its data is corrupt.
    """
    with hearing() as words:
        decoded = decode(data, limits, short_side=None if with_quality else max(short_side, SHORT_SIDE))
    harm = decoded.damage()
    if harm and not harm.harmless:
        raise harm.error()
    record = np.zeros((), RECORD)
    record["sha256"] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    record["phash"] = phash(decoded.image)
    record["bytes"] = len(data)
    record["width"], record["height"] = decoded.full_size
    with hearing() as again, Image.open(io.BytesIO(data), formats=readable_formats()) as header:
        record["format"] = FORMATS.index("JPEG" if header.format == "MPO" else header.format or "JPEG")
        kin = "I;16" if header.mode.startswith("I;16") else "other"
        record["mode"] = MODES.index(header.mode if header.mode in MODES else kin)
        record["animated"] = header.format not in _SEVERAL and bool(getattr(header, "is_animated", False))
    record["remark"] = STRAY_BYTES if harm else remark(words + again)
    record["scores"] = np.nan
    return Inspection(record, quality.statistics(decoded.image) if with_quality else None, decoded)
