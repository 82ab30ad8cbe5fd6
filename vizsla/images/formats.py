"""Which pictures can be read here, and what a file's first bytes say it is."""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

# Importing the plugins here, and not at the first picture, keeps Image.open free of races between threads.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")
"""Pillow's names of the formats that are read where their decoder is there (MPO, a JPEG of several pictures, counts as
JPEG). Everything else is refused before any decoder runs. The positions are codes in stored records."""

ENDINGS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "JPEG", ".png": "PNG", ".apng": "PNG",
    ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF",
    ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".avif": "AVIF", ".avifs": "AVIF",
    ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".heics": "HEIF", ".heifs": "HEIF",
}  # fmt: skip
"""File name endings, and the format that each promises."""

_HEIF_PACKAGES = ("pi_heif", "pillow_heif")
"""Pillow plugins for HEIC: BSD themselves. The wheels of the first bundle libheif and libde265 (LGPL-3), those of the
second also x265 (GPL-2); so neither is a dependency of ours."""

HEAD_BYTES = 1024
"""Bytes at a file's beginning that :func:`file_type` looks at."""


@cache
def readable_formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that can be read now: AVIF needs Pillow >= 11.3, HEIF the package pi-heif."""
    return tuple(name for name in FORMATS if _OPTIONAL.get(name, lambda: True)())


@cache
def readable_suffixes() -> frozenset[str]:
    """File name endings of the formats that can be read now, such as ``.jpg``."""
    return frozenset(ending for ending, name in ENDINGS.items() if name in readable_formats())


def _has_avif() -> bool:
    try:
        return bool(importlib.import_module("PIL.AvifImagePlugin").SUPPORTED)
    except ImportError:
        return False


def _has_heif() -> bool:
    for name in _HEIF_PACKAGES:
        try:
            importlib.import_module(name).register_heif_opener()
        except ImportError:
            continue
        return True
    return False


_OPTIONAL = {"AVIF": _has_avif, "HEIF": _has_heif}


@dataclass(frozen=True)
class FileType:
    """What a file is: ``name`` is short, for tables (Pillow's name where it has one); ``words`` go into a sentence;
    ``do`` says how a picture that cannot be read here becomes readable, or where the real file is."""

    name: str
    words: str
    picture: bool = False
    do: str | None = None

    @property
    def readable(self) -> bool:
        """Whether it is a picture that can be read now."""
        return self.name in readable_formats()


def file_type(head: bytes) -> FileType | None:
    """What the first :data:`HEAD_BYTES` of a file say it is; None for what is not known.

    >>> file_type(b"\\xff\\xd8\\xff\\xe0...").name
    'JPEG'
    >>> file_type(b"<!DOCTYPE html>").words
    'a web page'
    """
    head = head[:HEAD_BYTES]
    return next((kind for matches, kind in _TYPES if head and matches(head)), None)


def _starts(*magics: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magics)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """Brands of an ISO base media file (ISO/IEC 14496-12, 4.3), the major one or compatible ones."""

    def matches(head: bytes) -> bool:
        if head[4:8] != b"ftyp":
            return False
        end = min(int.from_bytes(head[:4], "big"), len(head))
        return any(head[at : at + 4].startswith(brands) for at in (8, *range(16, end - 3, 4)))

    return matches


def _has_bmp_header(head: bytes) -> bool:
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)


def _is_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # a letter may be cut at the end
    except UnicodeDecodeError:
        return False
    return not re.search(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]", text)


def _text(pattern: bytes) -> Callable[[bytes], bool]:
    """Text that begins as a pattern says, after a byte order mark, blanks and comments of XML."""
    begin = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->|<\?xml.*?\?>)*(?:" + pattern + rb")", re.DOTALL | re.I)
    return lambda head: begin.match(head) is not None


def _picture(name: str, words: str) -> FileType:
    return FileType(name, words, picture=True, do="convert it to JPEG or PNG")


_UNPACK = "unpack it first"

_TYPES: tuple[tuple[Callable[[bytes], bool], FileType], ...] = (
    (_starts(b"\xff\xd8\xff"), _picture("JPEG", "a JPEG picture")),
    (_starts(b"\x89PNG\r\n\x1a\n"), _picture("PNG", "a PNG picture")),
    (_starts(b"GIF87a", b"GIF89a"), _picture("GIF", "a GIF picture")),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _picture("WEBP", "a WebP picture")),
    (_has_bmp_header, _picture("BMP", "a BMP picture")),
    (lambda head: re.match(rb"P[1-6][\s#]", head) is not None, _picture("PPM", "a PPM picture")),
    (lambda head: head[:4] == b"II*\0" and head[8:10] == b"CR", _picture("CR2", "a raw photo of a Canon camera")),
    (_starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _picture("TIFF", "a TIFF picture")),
    (
        _brand(b"avif", b"avis"),
        FileType("AVIF", "an AVIF picture", True, "install Pillow 11.3 or later, or convert it"),
    ),
    (
        _brand(b"hei", b"hev", b"mif1", b"msf1"),
        FileType("HEIF", "a HEIC photo", True, "install pi-heif, which reads it, or convert it to JPEG"),
    ),
    (_brand(b"crx "), _picture("CR3", "a raw photo of a Canon camera")),
    (_brand(b"iso", b"mp4", b"M4V", b"qt  ", b"avc1", b"3gp", b"MSNV"), FileType("MP4", "a video")),
    (_starts(b"\xff\x0a", b"\0\0\0\x0cJXL "), _picture("JXL", "a JPEG XL picture")),
    (_starts(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), _picture("JPEG2000", "a JPEG 2000 picture")),
    (_starts(b"8BPS"), _picture("PSD", "a Photoshop document")),
    (_starts(b"gimp xcf"), _picture("XCF", "a GIMP document")),
    (_starts(b"FUJIFILMCCD-RAW"), _picture("RAF", "a raw photo of a Fujifilm camera")),
    (_starts(b"IIRO", b"IIRS", b"MMOR"), _picture("ORF", "a raw photo of an Olympus camera")),
    (_starts(b"IIU\0"), _picture("RW2", "a raw photo of a Panasonic camera")),
    (lambda head: head[128:132] == b"DICM", _picture("DICOM", "a DICOM picture")),
    (_starts(b"\0\0\x01\0", b"\0\0\x02\0"), _picture("ICO", "an icon")),
    (_starts(b"v/1\x01"), _picture("EXR", "an OpenEXR picture")),
    (_starts(b"#?RADIANCE", b"#?RGBE"), _picture("HDR", "a Radiance HDR picture")),
    (_starts(b"DDS "), _picture("DDS", "a DDS texture")),
    (_starts(b"qoif"), _picture("QOI", "a QOI picture")),
    (_starts(b"SIMPLE  ="), _picture("FITS", "a FITS picture")),
    (_starts(b"P7\n", b"Pf\n", b"PF\n"), _picture("PAM", "a PAM or PFM picture")),
    (_starts(b"%!PS", b"\xc5\xd0\xd3\xc6"), _picture("EPS", "a PostScript drawing")),
    (_text(rb"(?:<!doctype svg[^>]*>\s*)?<svg\b"), _picture("SVG", "an SVG drawing")),
    (
        _text(rb"<!doctype html|<html\b|<head\b|<body\b"),
        FileType("HTML", "a web page", do="download it again, signed in where that is asked for"),
    ),
    (_starts(b"version https://git-lfs"), FileType("LFS", "a Git LFS pointer", do="fetch the real file: git lfs pull")),
    (_text(rb"data:image/"), FileType("base64", "a data: address in base64", do="decode the base64 after its comma")),
    (_starts(b"/9j/", b"iVBORw0KGgo", b"R0lGOD", b"UklGR"), FileType("base64", "a picture in base64", do="decode it")),
    (_text(rb"[{\[]\s*[\"{\[\]}]"), FileType("JSON", "a JSON document")),
    (_starts(b"<?xml", b"\xef\xbb\xbf<?xml"), FileType("XML", "an XML document")),
    (_starts(b"%PDF"), FileType("PDF", "a PDF document")),
    (_starts(b"PK\x03\x04", b"PK\x05\x06"), FileType("ZIP", "a zip archive", do=_UNPACK)),
    (_starts(b"\x1f\x8b"), FileType("gzip", "a file compressed with gzip", do=_UNPACK)),
    (_starts(b"\x28\xb5\x2f\xfd"), FileType("zstd", "a file compressed with zstd", do=_UNPACK)),
    (_starts(b"BZh", b"\xfd7zXZ\0"), FileType("compressed", "a compressed file", do=_UNPACK)),
    (_starts(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"), FileType("archive", "an archive", do=_UNPACK)),
    (lambda head: head[257:262] == b"ustar", FileType("tar", "a tar archive", do=_UNPACK)),
    (_starts(b"\x93NUMPY"), FileType("npy", "a numpy array")),
    (_starts(b"\0\x05\x16\x07", b"\0\x05\x16\0"), FileType("AppleDouble", "what macOS keeps beside a file")),
    (_is_text, FileType("text", "text")),
)
"""In order, as some beginnings are also those of others; text is the last."""
