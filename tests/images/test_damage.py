"""Damage that decoders pass over is told, for what libjpeg warns of and for nothing else."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vizsla.errors import ImageError
from vizsla.images import Damage, Limits, damage, decode

LIMITS = Limits(max_bytes=64_000_000, max_pixels=100_000_000, seconds=20)
SAVED: dict[str, dict[str, object]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "no subsampling": {"subsampling": 0},
}


@pytest.fixture(scope="module")
def photos(flowers: Path) -> list[bytes]:
    """300 real photos."""
    files = sorted((flowers / "train").glob("*/*.jpg"))
    return [file.read_bytes() for file in random.Random(0).sample(files, 300)]


def saved(photo: bytes, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(file, kind, **{"quality": 85, **options} if kind == "JPEG" else options)
    return file.getvalue()


def overwritten(data: bytes, rng: np.random.Generator, count: int = 40) -> bytes:
    at = int(len(data) * rng.uniform(0.2, 0.9))
    return data[:at] + rng.integers(0, 256, count, np.uint8).tobytes() + data[at + count :]


def damage_of(data: bytes) -> Damage | None:
    return decode(data, LIMITS).damage()


def test_whole_photos_are_not_suspect_and_have_the_pixels_that_pillow_gives(photos: list[bytes]) -> None:
    for photo in photos:
        decoded = decode(photo, LIMITS)
        assert not decoded.suspect
        assert np.array_equal(np.asarray(decoded.image), np.asarray(Image.open(io.BytesIO(photo))))


def test_a_plain_jpeg_is_suspect_where_libjpeg_warns(photos: list[bytes]) -> None:
    """But for one in several hundred: a bad code after which the rows end with the data all the same."""
    rng = np.random.default_rng(0)
    outcomes = {(True, True): 0, (True, False): 0, (False, False): 0, (False, True): 0}
    for photo in photos:
        data = overwritten(photo, rng)
        for short_side in (None, 100):
            try:
                decoded = decode(data, LIMITS, short_side=short_side)
            except ImageError:
                continue
            outcomes[damage(data) is not None, decoded.suspect] += 1
    assert outcomes[False, True] == 0
    assert outcomes[True, False] <= 0.01 * outcomes[True, True]
    assert outcomes[True, True] > 300  # and libjpeg itself misses a third: their bits end where they should


@pytest.mark.parametrize("way", SAVED)
def test_forty_bytes_overwritten_in_the_middle_are_told_in_every_kind_of_jpeg(way: str, photos: list[bytes]) -> None:
    for photo in photos[:40]:
        data = bytearray(saved(photo, **SAVED[way]))
        assert damage_of(bytes(data)) is None
        middle = len(data) // 2
        data[middle : middle + 40] = b"\xff\xd4" + bytes(38)
        try:
            harm = damage_of(bytes(data))
        except ImageError as error:
            assert error.kind in ("damaged", "truncated")  # noqa: PT017 - a decoder may give up, too
            continue
        assert harm is not None
        assert not harm.harmless


def test_a_file_that_ends_in_zeros_is_told(photos: list[bytes]) -> None:
    """What a broken copy leaves that had claimed its place on the disk first."""
    for photo in photos[:40]:
        half = len(photo) // 2
        try:
            assert damage_of(photo[:half] + bytes(half))
        except ImageError as error:
            assert error.kind == "truncated"  # noqa: PT017


def test_what_follows_a_picture_is_no_damage(photos: list[bytes], paint: Callable[..., Image.Image]) -> None:
    photo = photos[0]
    for trailer in (b"\0" * 500, photo, b"ftypmp42" * 100 + b"\xff\xd9"):
        assert damage_of(photo + trailer) is None
    file = io.BytesIO()
    paint(1).save(file, "MPO", save_all=True, append_images=[paint(2)])
    assert damage_of(file.getvalue()) is None


def test_colours_of_print_and_gray_are_no_damage(photos: list[bytes]) -> None:
    for mode in ("L", "CMYK"):
        file = io.BytesIO()
        Image.open(io.BytesIO(photos[0])).convert(mode).save(file, "JPEG")
        assert damage_of(file.getvalue()) is None
        assert damage_of(overwritten(file.getvalue(), np.random.default_rng(2), 400))


@pytest.mark.parametrize(
    ("stray", "harmless"), [(b"\x12\x34\x56\x78\x9a\xbc\xde", True), (bytes(200), True), (None, False)]
)
def test_stray_bytes_of_a_camera_are_told_apart(stray: bytes | None, harmless: bool, photos: list[bytes]) -> None:
    """Few, or one byte again and again; and not a piece of the picture."""
    photo = photos[1]
    harm = damage_of(photo[:-2] + (photo[-1000:-500] if stray is None else stray) + b"\xff\xd9")
    assert harm is not None
    assert "extraneous bytes before marker 0xd9" in harm.words
    assert harm.harmless == harmless


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "jpeg"])
def test_strips_of_a_tiff_are_looked_at(compression: str, photos: list[bytes]) -> None:
    rng = np.random.default_rng(1)
    told = 0
    for photo in photos[:20]:
        data = saved(photo, "TIFF", compression=compression)
        assert damage_of(data) is None
        try:
            told += damage_of(overwritten(data, rng)) is not None
        except ImageError:
            told += 1
    assert told >= 13


def test_every_byte_of_a_png_counts(photos: list[bytes]) -> None:
    data = bytearray(saved(photos[0], "PNG"))
    for at in range(len(data) // 10, len(data) - 60, len(data) // 10):
        broken = data.copy()
        broken[at] ^= 4
        with pytest.raises(ImageError):
            decode(bytes(broken), LIMITS)


def test_the_error_says_what_the_decoder_says(photos: list[bytes]) -> None:
    data = photos[0][:-2] + photos[0][-1000:-500] + b"\xff\xd9"
    harm = damage_of(data)
    assert harm is not None
    error = harm.error()
    assert error.kind == "corrupt-data"
    assert error.what.startswith("Part of the picture's data is broken (Corrupt JPEG data: ")
    assert error.what.endswith(" extraneous bytes before marker 0xd9).")
    assert "copy it again" in str(error.do)
