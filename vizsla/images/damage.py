"""Damage that a decoder passes over: it gives a picture all the same, part of which is gray, displaced or noise.

Pillow hides libjpeg's warnings, so that a suspect JPEG is decoded once more, in gray and at an eighth of its size, by a
binding of the same library that raises them. Which one is suspect, a plain JPEG tells for nothing: libjpeg warns where
its rows end before or after its data, and :mod:`vizsla.images.decode` sees that. A progressive one, or one with restart
markers, always is. The strips of a deflated TIFF have checksums that libtiff does not always reach. Pillow itself looks
at those of PNG; WebP, GIF, BMP, PPM and AVIF have none.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import simplejpeg
from PIL import Image, TiffImagePlugin

from vizsla.errors import ImageError
from vizsla.images.header import jpeg_segments

_STRAY_BYTES = 7
_STRAY = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_CORRUPT = re.compile(r"Corrupt JPEG data: (?!bad ICC)|Premature end of JPEG file|Inconsistent progression")
"""Those of libjpeg's warnings (jerror.h) that are about pixels; others are about versions, profiles and colour."""

_COMPRESSION, _JPEG_TABLES = 259, 347
_MOST_BYTES = 64
_PARTS = ((273, 279), (324, 325))
"""TIFF tags (TIFF 6.0 and its supplement 2): offsets and lengths of strips, and of tiles."""


@dataclass(frozen=True)
class Damage:
    """What the decoder says, and whether it is ``harmless``: bytes before a JPEG's end that belong to nothing, up to 7
    of them or all the same.

    Webcams and some phones write such files, whose pixels are whole. One in twelve of libjpeg's warnings of real damage
    is of this kind, too.
    """

    words: str
    harmless: bool = False

    def error(self) -> ImageError:
        """It as an error, for those who want no such picture."""
        return ImageError(
            "corrupt-data",
            f"Part of the picture's data is broken ({self.words}).",
            do="look at it, and copy it again from where it came",
        )


def damage(data: bytes) -> Damage | None:
    """What is known to be wrong with the data of a picture that can be decoded; None for nothing.

    >>> damage(half_gray_jpeg).words
    'Corrupt JPEG data: premature end of data segment'
    """
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    if data.startswith((b"II", b"MM")):
        return next(_of_tiff(data), None)
    return None


def scan_end(data: bytes) -> int | None:
    """Where the pixels of a JPEG end; None for one with several scans or with restart markers (ITU-T T.81, B.2)."""
    components = -1
    for marker, body in jpeg_segments(data):
        if marker in (0xC0, 0xC1):
            components = data[body + 5]
        elif marker == 0xDD and data[body : body + 2] != b"\0\0":
            return None
        elif marker == 0xDA:
            pixels = body - 2 + int.from_bytes(data[body - 2 : body])
            end = data.find(b"\xff\xd9", pixels) if data[body] == components else -1
            return end if end > pixels else None
    return None


def _of_jpeg(data: bytes) -> Damage | None:
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except ValueError as error:
        words = str(error)
        if _CORRUPT.match(words):
            stray = _STRAY.match(words)
            return Damage(words, harmless=stray is not None and _is_padding(data, int(stray[1])))
    return None


def _is_padding(data: bytes, count: int) -> bool:
    """Whether the ``count`` bytes before the end marker are few, or one byte again and again."""
    end = data.rfind(b"\xff\xd9")
    return count <= _STRAY_BYTES or len(set(data[end - count : end])) == 1


def _of_tiff(data: bytes) -> Iterator[Damage]:
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as image:
        tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
        most = _MOST_BYTES * image.width * image.height
    check = _TIFF_CHECKS.get(tags.get(_COMPRESSION, 1))
    if check is None:
        return
    for offsets, lengths in _PARTS:
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            harm = check(data[offset : offset + length], tags.get(_JPEG_TABLES), most)
            if harm:
                yield harm


def _of_deflated(part: bytes, tables: bytes | None, most: int) -> Damage | None:
    stream, size = zlib.decompressobj(), 0
    try:
        while part and not stream.eof and size <= most:  # more is made up, to take time
            size += len(stream.decompress(part, 1 << 20))
            part = stream.unconsumed_tail
    except zlib.error as error:
        return Damage(f"a strip of the TIFF: {error}")
    return None


def _of_jpeg_part(part: bytes, tables: bytes | None, most: int) -> Damage | None:
    return _of_jpeg(tables[:-2] + part[2:] if tables else part)


_TIFF_CHECKS: dict[int, Callable[[bytes, bytes | None, int], Damage | None]] = {
    7: _of_jpeg_part,
    8: _of_deflated,
    32946: _of_deflated,
}
"""By the value of the TIFF tag Compression."""
