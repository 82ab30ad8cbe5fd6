"""Bytes to an upright RGB picture, within bounds of size, pixels and time."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import time
import zlib
from dataclasses import dataclass, field

from PIL import ExifTags, Image, UnidentifiedImageError

from vizsla.errors import ImageError
from vizsla.images.damage import Damage, damage, scan_end
from vizsla.images.depth import to_eight_bits
from vizsla.images.formats import file_type, readable_formats, readable_suffixes
from vizsla.settings import settings

SUFFIXES = readable_suffixes()
"""File name endings that mark a file as meant to be a picture, of the formats that can be read now."""

_PROGRESSIVE_BLOCK = 1024
"""Bytes fed at a time to a progressive JPEG, whose every scan costs a pass over the whole picture."""

_NEW_SUBFILE_TYPE = 254
"""TIFF's tag whose lowest bit marks a reduced copy of another picture in the file (TIFF 6.0, NewSubfileType). Raw
photos (DNG, NEF, ARW and others) begin with one; no picture that is meant to be read does."""
_PADDING = b"\x55" * 8
"""As many bytes as libjpeg's decoder reads ahead (jdhuff.c: a buffer of 64 bits)."""

DECODER_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AttributeError, OverflowError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders are known to raise on broken data."""


@dataclass(frozen=True)
class Limits:
    """Bounds on one picture: bytes of the file, pixels (width x height), seconds of decoding."""

    max_bytes: int
    max_pixels: int
    seconds: float

    @classmethod
    def from_settings(cls) -> Limits:
        """The limits that the ``VIZSLA_*`` variables ask for."""
        s = settings()
        return cls(s.max_image_bytes, s.max_image_pixels, s.decode_seconds)


@dataclass(frozen=True)
class DecodedImage:
    """An upright RGB picture, perhaps decoded at a reduced scale, and the size (width, height) it has in full.

    ``suspect`` means that :func:`~vizsla.images.damage.damage` may find something in its ``data``.
    """

    image: Image.Image
    full_size: tuple[int, int]
    data: bytes = field(repr=False)
    suspect: bool = True

    def damage(self) -> Damage | None:
        """What the decoder passed over; None for nothing. Costs nothing for most pictures."""
        return damage(self.data) if self.suspect else None

    def warning(self) -> ImageError | None:
        """What should be told with whatever is said of the picture: part of its data is broken; None for nothing."""
        harm = self.damage()
        return None if harm is None or harm.harmless else harm.error()


class _BoundedReader(io.BytesIO):
    """Bytes that stop being given when the time is over.

    Pillow asks for data block by block, so that the clock is looked at between blocks; no thread or signal
    is needed. So one sees, too, whether a JPEG's rows end with its data: see :meth:`watch`.
    """

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._last: int | None = None
        self._turns = 0

    def watch(self, end: int) -> None:
        """Give the last byte before ``end`` in a turn of its own, and padding with it, which the decoder reads ahead.

        Of whole data the decoder asks for that byte, and for nothing after it.
        """
        self._last = end - 1

    @property
    def suspect(self) -> bool:
        """Whether the decoder stopped before the last byte, wanted more, or was not watched."""
        return self._turns != 1

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise ImageError(
                "too-slow",
                f"Decoding took longer than {self._seconds:g} s.",
                do="re-save the picture as a plain JPEG, or raise VIZSLA_DECODE_SECONDS",
            )
        if self._last is None or self._turns > 1:
            return super().read(size)
        ahead = self._last - self.tell()
        if ahead > 0:
            return super().read(ahead if size is None or size < 0 else min(size, ahead))
        self._turns += 1
        return super().read(1) + _PADDING if self._turns == 1 else super().read(size)


def read_file(path: str | os.PathLike[str], limits: Limits) -> bytes:
    """Read a picture file, at most ``limits.max_bytes`` of it.

    Raises
    ------
    ImageError
        ``unreadable``, ``empty`` or ``too-many-bytes``.
    """
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(
                    "unreadable", "This is not a regular file.", where=path, do="take it out of the folder"
                )
            # Asking for the whole limit would claim as much memory each time: 0.25 ms a picture.
            data = file.read(min(status.st_size, limits.max_bytes) + 1)
    except FileNotFoundError as error:
        is_link = os.path.islink(path)
        raise ImageError(
            "unreadable",
            "This is a link to a file that is not there." if is_link else "There is no such file.",
            where=path,
            do="take the link away, or put the file there" if is_link else "correct its path, or put the file there",
        ) from error
    except OSError as error:
        raise ImageError("unreadable", f"The file cannot be read: {error.strerror or error}.", where=path) from error
    _check_bytes(data, limits, path)
    return data


def decode(data: bytes, limits: Limits, *, short_side: int | None = None) -> DecodedImage:
    """Decode a picture into upright 8-bit RGB.

    EXIF orientation is applied, transparency is laid on white, 16-bit samples are scaled to 8, CMYK, palette
    and grayscale become RGB, and of an animation the first frame is taken.

    Parameters
    ----------
    data:
        The file's bytes.
    limits:
        Bounds on bytes, pixels and time.
    short_side:
        Pixels that the shorter side must keep. A JPEG that is at least twice as large is decoded at 1/2, 1/4
        or 1/8 of its size, which is several times faster. None decodes in full.

    Raises
    ------
    ImageError
        With a ``kind`` out of :data:`vizsla.errors.IMAGE_ERROR_KINDS`.
    """
    _check_bytes(data, limits)
    reader = _BoundedReader(data, limits.seconds)
    image = _open(reader, data, limits)
    end = scan_end(data) if image.format in ("JPEG", "MPO") else None
    if end is not None:
        reader.watch(end)
    try:
        width, height = image.size
        if short_side and image.format in ("JPEG", "MPO"):
            scale = short_side / min(width, height)
            if scale <= 0.5:
                image.draft("RGB", (int(width * scale), int(height * scale)))
        if "progressive" in image.info or "progression" in image.info:
            image.decodermaxblock = _PROGRESSIVE_BLOCK  # type: ignore[attr-defined]
        image.load()
        if image.format == "TIFF":  # Pillow turns these upright itself, while loading
            turned, (width, height) = 1, image.size
        else:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) if _may_be_turned(image) else 1
        rgb = to_rgb(image)
    except DECODER_FAULTS as error:
        raise _damage(data, error) from error
    operation = UPRIGHT.get(turned)
    if operation is not None:
        rgb = rgb.transpose(operation)
        if turned >= 5:
            width, height = height, width
    return DecodedImage(rgb, (width, height), data, reader.suspect)


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by the value of the EXIF tag Orientation (EXIF 2.32, tag 0x0112)."""


def _check_bytes(data: bytes, limits: Limits, where: object = None) -> None:
    if not data:
        raise ImageError("empty", "The file is empty (0 bytes).", where=where)
    if len(data) > limits.max_bytes:
        raise ImageError(
            "too-many-bytes",
            f"The file is larger than {limits.max_bytes / 1e6:g} MB.",
            where=where,
            allowed=f"at most {limits.max_bytes / 1e6:g} MB",
            do="raise VIZSLA_MAX_IMAGE_MB if the file is meant",
        )


def _open(reader: _BoundedReader, data: bytes, limits: Limits) -> Image.Image:
    """Read the header, and refuse what is too large before any pixel is decoded."""
    if (Image.MAX_IMAGE_PIXELS or limits.max_pixels) < limits.max_pixels:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # else Pillow refuses what our own limit allows
    try:
        image = Image.open(reader, formats=readable_formats())
    except UnidentifiedImageError as error:
        raise _unknown(data) from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))  # Pillow's own limit is not ours
        size = (
            f"{int(pixels[1]) / 1e6:,.0f} megapixels" if pixels else f"more than {limits.max_pixels / 1e6:g} megapixels"
        )
        raise too_many_pixels(size, limits) from error
    except DECODER_FAULTS as error:
        raise _damage(data, error) from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise too_many_pixels(f"{width} x {height} = {width * height / 1e6:,.0f} megapixels", limits)
    if image.format == "TIFF" and image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1:  # type: ignore[attr-defined]
        raise ImageError(
            "unreadable-format",
            f"The file is a raw photo: what comes first in it is a preview of {width} x {height} pixels.",
            do="develop it to JPEG",
        )
    return image


def _may_be_turned(image: Image.Image) -> bool:
    """Reading EXIF costs time; most formats announce that they carry some."""
    return image.format in ("MPO", "WEBP", "PNG") or "exif" in image.info


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of a loaded picture of any mode, transparency on white.

    Raises
    ------
    ImageError
        ``unsupported``, for samples without a known range.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return to_eight_bits(image).convert("RGB")


def too_many_pixels(size: str, limits: Limits) -> ImageError:
    """Words for a picture of so many pixels."""
    return ImageError(
        "too-many-pixels",
        f"The picture is too large to decode safely: {size}.",
        allowed=f"at most {limits.max_pixels / 1e6:g} megapixels",
        do="raise VIZSLA_MAX_MEGAPIXELS if the picture is meant",
    )


def _unknown(data: bytes) -> ImageError:
    if data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")):
        return ImageError("truncated", f"The picture ends inside its header, after {len(data):,} bytes.")
    kind = file_type(data)
    if kind is not None and kind.readable:
        return ImageError("damaged", f"This is {kind.words}, but its header is broken.")
    if kind is not None and kind.picture:
        return ImageError(
            "unreadable-format",
            f"The file is {kind.words}, which cannot be read here.",
            allowed=", ".join(readable_formats()),
            do=kind.do,
        )
    return ImageError(
        "not-an-image",
        f"The file is not a picture{f'; it looks like {kind.words}' if kind else ''}.",
        allowed=", ".join(readable_formats()),
        do=kind.do if kind else None,
    )


def _damage(data: bytes, error: BaseException) -> ImageError:
    words = str(error) or type(error).__name__
    if "truncated" in words.lower() or isinstance(error, EOFError):
        return ImageError("truncated", f"The picture ends too early, after {len(data):,} bytes ({words}).")
    return ImageError("damaged", f"The picture's data is broken ({words}).")
