"""What the first bytes of a picture say of it, without decoding."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

_MAX_SEGMENTS = 1000
_START_OF_FRAME = frozenset(0xC0 + i for i in range(16) if i not in (4, 8, 12))


def pixel_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a picture's header tells them, unchecked; (0, 0) where it does not.

    Sources: the PNG, GIF89a and JPEG (ITU-T T.81, B.2.2) specifications, RFC 9649 for WebP, BITMAPINFOHEADER.
    """
    if data.startswith(b"\x89PNG") and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _little(data[6:8]), _little(data[8:10])
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp_size(data)
    if data.startswith(b"BM") and len(data) >= 26:
        if data[14] == 12:
            return _little(data[18:20]), _little(data[20:22])
        width, height = struct.unpack("<ii", data[18:26])
        return abs(width), abs(height)
    return _jpeg_size(data) if data.startswith(b"\xff\xd8") else (0, 0)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return 1 + _little(data[24:27]), 1 + _little(data[27:30])
    if data[12:16] == b"VP8L":
        bits = _little(data[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, body in itertools.islice(jpeg_segments(data), _MAX_SEGMENTS):
        if marker in _START_OF_FRAME:
            return int.from_bytes(data[body + 3 : body + 5]), int.from_bytes(data[body + 1 : body + 3])
    return 0, 0


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The markers of a JPEG before its pixels, and where the body of each begins (ITU-T T.81, B.1.1)."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 1 < len(data):
        if data[place + 1] == 0xFF:  # a byte that fills up
            place += 1
            continue
        yield data[place + 1], place + 4
        place += 2 + int.from_bytes(data[place + 2 : place + 4])


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
