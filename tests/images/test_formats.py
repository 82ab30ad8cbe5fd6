"""What a file's first bytes say it is, and which formats can be read here."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, features

from vizsla.errors import ImageError
from vizsla.images import Limits, decode, file_type, readable_formats, readable_suffixes
from vizsla.images.formats import ENDINGS, FORMATS

LIMITS = Limits(max_bytes=64_000_000, max_pixels=100_000_000, seconds=20)

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERAAAEA"
    "AQAAAAABegABAAAAAAAAACUAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmND"
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgA"
    "AAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAA"
    "AAABAAEEgQIDBAAAAC1tZGF0AAAAISgBrxmABolHv1X//lw+/5hml7Z5O//vszvlkU/3nH0ieA=="
)
"""64 x 64 pixels, the left half red, the right half blue: libheif with x265."""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "DDS", "JPEG2000", "EPS"])
def test_pictures_are_known_by_their_content(kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(file, kind)
    found = file_type(file.getvalue())
    assert found is not None
    assert (found.name, found.picture, found.readable) == (kind, True, kind in FORMATS)


@pytest.mark.parametrize(
    ("head", "name", "words"),
    [
        (HEIC, "HEIF", "a HEIC photo"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF", "an AVIF picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3", "a raw photo of a Canon camera"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "MP4", "a video"),
        (b"\xef\xbb\xbf \n<!-- saved --><HTML lang=en>", "HTML", "a web page"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">', "SVG", "an SVG drawing"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "XML", "an XML document"),
        (b'{"message": "Not Found"}', "JSON", "a JSON document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "LFS", "a Git LFS pointer"),
        (b"data:image/jpeg;base64,/9j/4AAQ", "base64", "a data: address in base64"),
        (b"/9j/4AAQSkZJRgABAQAAAQABAAD", "base64", "a picture in base64"),
        (b"\x1f\x8b\x08\x00", "gzip", "a file compressed with gzip"),
        (b"PK\x03\x04", "ZIP", "a zip archive"),
        ("Größe: 3 m, ein Hügel".encode() + "ü".encode()[:1], "text", "text"),
        ("notes".encode("utf-16"), "text", "text"),
    ],
)
def test_what_lies_in_folders_and_is_no_readable_picture(head: bytes, name: str, words: str) -> None:
    found = file_type(head)
    assert found is not None
    assert (found.name, found.words) == (name, words)


@pytest.mark.parametrize("head", [b"", b"BM are letters too \x00", bytes(range(128, 250)), bytes(600)])
def test_what_is_not_known_is_nothing(head: bytes) -> None:
    assert file_type(head) is None


def test_every_readable_format_has_an_ending() -> None:
    assert set(ENDINGS.values()) == set(FORMATS)
    assert {".jpg", ".png", ".tif", ".webp"} <= readable_suffixes()


def test_avif_is_read_upright_where_pillow_can() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32] = (200, 40, 40)
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, "AVIF", quality=95, exif=exif)
    assert "AVIF" in readable_formats()
    assert ".avif" in readable_suffixes()
    decoded = decode(file.getvalue(), LIMITS)
    assert decoded.full_size == decoded.image.size == (48, 64)
    assert np.asarray(decoded.image)[8, 24, 0] > 150
    assert np.asarray(decoded.image)[56, 24, 0] < 50


def test_heic_is_read_where_its_plugin_is_installed() -> None:
    pytest.importorskip("pi_heif")
    assert "HEIF" in readable_formats()
    assert ".heic" in readable_suffixes()
    red, blue = np.asarray(decode(HEIC, LIMITS).image)[32, [8, 56]].astype(int)
    assert np.abs(red - (200, 40, 40)).max() < 20
    assert np.abs(blue - (40, 60, 200)).max() < 20
    with pytest.raises(ImageError) as caught:
        decode(HEIC[:-20], LIMITS)
    assert caught.value.kind == "damaged"


def test_without_its_plugin_heic_is_named() -> None:
    code = (
        "import sys\n"
        "sys.modules['pi_heif'] = sys.modules['pillow_heif'] = None\n"
        "from vizsla.images import Limits, decode, readable_suffixes\n"
        "from vizsla.errors import ImageError\n"
        "assert '.heic' not in readable_suffixes()\n"
        "try:\n    decode(sys.stdin.buffer.read(), Limits(10**6, 10**6, 5))\n"
        "except ImageError as error:\n    print(error.kind); print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=HEIC, capture_output=True, check=True)
    words = done.stdout.decode()
    assert words.startswith("unreadable-format\nThe file is a HEIC photo, which cannot be read here.\n")
    assert "do: install pi-heif, which reads it, or convert it to JPEG" in words
