"""Bytes become upright RGB within bounds, and what cannot is told in words."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from vizsla.errors import IMAGE_ERROR_KINDS, ImageError
from vizsla.images import Limits, decode, read_file

LIMITS = Limits(max_bytes=64_000_000, max_pixels=100_000_000, seconds=20)
Paint = Callable[..., Image.Image]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(decode(data, LIMITS).image)


def error_of(data: bytes, limits: Limits = LIMITS) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decode(data, limits)
    assert caught.value.kind in IMAGE_ERROR_KINDS
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_lossless_formats_give_the_same_pixels(kind: str, paint: Paint) -> None:
    image = paint(3).quantize(64).convert("RGB")  # few enough colours for GIF
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(encoded(image, kind, **options)), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, paint: Paint) -> None:
    upright = paint(1, size=(64, 40))
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        decoded = decode(encoded(stored, kind, exif=exif), LIMITS)
        assert decoded.full_size == upright.size
        assert np.array_equal(np.asarray(decoded.image), np.asarray(upright))
    jpeg = decode(encoded(stored, "JPEG", quality=95, exif=exif), LIMITS)
    assert jpeg.full_size == upright.size
    difference = np.abs(np.asarray(jpeg.image, np.int16) - np.asarray(upright, np.int16))
    assert difference.mean() < 4


def test_orientation_changes_the_full_size_of_a_scaled_jpeg(paint: Paint) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(encoded(paint(1, size=(1600, 800)), "JPEG", exif=exif), LIMITS, short_side=100)
    assert decoded.full_size == (800, 1600)
    assert decoded.image.size == (100, 200)


def test_cmyk_jpeg(paint: Paint) -> None:
    image = paint(2)
    found = pixels(encoded(image.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(found.astype(int) - np.asarray(image).astype(int)).mean() < 6


def test_gray_becomes_three_equal_channels(paint: Paint) -> None:
    gray = paint(4).convert("L")
    found = pixels(encoded(gray))
    assert np.array_equal(found, np.repeat(np.asarray(gray)[..., None], 3, axis=2))


def test_sixteen_bit_gray_is_scaled_and_not_clipped() -> None:
    samples = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    found = pixels(encoded(Image.fromarray(samples)))
    assert np.array_equal(found[..., 0], np.round(samples / 257).astype(np.uint8))
    assert found.min() == 0
    assert found.max() == 255


def test_sixteen_bit_tiff() -> None:
    samples = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    assert np.array_equal(pixels(encoded(Image.fromarray(samples), "TIFF"))[..., 0], np.round(samples / 257))


def test_transparency_lies_on_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (200, 0, 0, 255)
    rgba[0, 1] = (200, 0, 0, 0)
    rgba[1, 0] = (0, 0, 0, 128)
    found = pixels(encoded(Image.fromarray(rgba)))
    assert tuple(found[0, 0]) == (200, 0, 0)
    assert tuple(found[0, 1]) == (255, 255, 255)
    assert tuple(found[1, 0]) == (127, 127, 127)


def test_palette_with_transparency(paint: Paint) -> None:
    palette = paint(5).quantize(16)
    palette.info["transparency"] = 0
    found = pixels(encoded(palette, transparency=0))
    mask = np.asarray(palette) == 0
    assert mask.any()
    assert (found[mask] == 255).all()


def test_gray_with_alpha_and_one_bit(paint: Paint) -> None:
    assert pixels(encoded(paint(6).convert("LA"))).shape == (72, 96, 3)
    assert set(np.unique(pixels(encoded(paint(6).convert("1"))))) <= {0, 255}


def test_first_frame_of_an_animation(paint: Paint) -> None:
    first, second = paint(1).quantize(32), paint(2).quantize(32)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(pixels(data), np.asarray(first.convert("RGB")))


def test_large_jpeg_is_decoded_at_a_reduced_scale(paint: Paint) -> None:
    data = encoded(paint(7, size=(2000, 1500)), "JPEG", quality=90)
    decoded = decode(data, LIMITS, short_side=300)
    assert decoded.full_size == (2000, 1500)
    assert decoded.image.size == (500, 375)
    assert decode(data, LIMITS).image.size == (2000, 1500)


def test_a_bomb_of_50_000_x_50_000_is_refused_before_any_pixel_is_decoded(png_bomb: bytes) -> None:
    data = png_bomb
    assert len(data) < 2_000_000
    began = time.process_time()
    error = error_of(data)
    assert time.process_time() - began < 1
    assert error.kind == "too-many-pixels"
    assert error.what == "The picture is too large to decode safely: 2,500 megapixels."
    assert error.allowed == "at most 100 megapixels"
    assert "VIZSLA_MAX_MEGAPIXELS" in str(error.do)


def test_pixels_are_bounded_by_our_limit_and_not_by_pillows(paint: Paint) -> None:
    data = encoded(paint(1, size=(300, 200)))
    error = error_of(data, Limits(1_000_000, 50_000, 20))
    assert error.what == "The picture is too large to decode safely: 300 x 200 = 0 megapixels."
    assert decode(data, Limits(1_000_000, 60_000, 20)).image.size == (300, 200)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_jpeg(share: float, paint: Paint) -> None:
    data = encoded(paint(8, size=(400, 300)), "JPEG", quality=90)
    error = error_of(data[: int(len(data) * share)])
    assert error.kind == "truncated"
    assert "ends too early" in error.what


def test_truncated_inside_the_header(paint: Paint) -> None:
    for kind in ("JPEG", "PNG", "GIF"):
        error = error_of(encoded(paint(8).quantize() if kind == "GIF" else paint(8), kind)[:12])
        assert error.kind == "truncated"
        assert "after 12 bytes" in error.what


def test_broken_png(paint: Paint) -> None:
    data = bytearray(encoded(paint(9)))
    data[len(data) // 2] ^= 0xFF
    assert error_of(bytes(data)).kind in ("damaged", "truncated")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"these are words, not a picture\n" * 20, "it looks like text"),
        (b"<!DOCTYPE html><html></html>", "it looks like a web page"),
        (b"%PDF-1.7 ...", "it looks like a PDF document"),
        (b"PK\x03\x04abc", "it looks like a zip archive"),
        (bytes(range(200, 250)) * 4, "not a picture"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    error = error_of(data)
    assert error.kind == "not-an-image"
    assert words in error.what
    assert str(error.allowed).startswith("JPEG, PNG, WEBP, GIF, BMP, TIFF, PPM")


def test_formats_beyond_the_list_never_reach_a_decoder(paint: Paint) -> None:
    error = error_of(encoded(paint(1), "EPS"))
    assert error.kind == "unreadable-format"
    assert error.what == "The file is a PostScript drawing, which cannot be read here."
    assert error.do == "convert it to JPEG or PNG"


def test_a_broken_header_of_a_known_format_is_damage_and_no_strange_file(paint: Paint) -> None:
    data = bytearray(encoded(paint(1), "WEBP"))
    data[12:20] = bytes(8)
    error = error_of(bytes(data))
    assert (error.kind, error.what) == ("damaged", "This is a WebP picture, but its header is broken.")


def test_empty_and_too_many_bytes() -> None:
    assert str(error_of(b"")) == "The file is empty (0 bytes)."
    error = error_of(b"x" * 1001, Limits(1000, 1000, 1))
    assert error.kind == "too-many-bytes"
    assert "VIZSLA_MAX_IMAGE_MB" in str(error.do)


def test_floating_point_pixels_have_no_known_range() -> None:
    error = error_of(encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"))
    assert error.kind == "unsupported"
    assert error.do == "convert the picture to 8 or 16 bits a channel"


def many_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again: little to read, much to decode."""
    data = encoded(image, "JPEG", progressive=True, quality=95)
    begin = data.rindex(b"\xff\xda")
    assert data.endswith(b"\xff\xd9")
    scans = min(scans, 60_000_000 // (len(data) - begin))
    return data[:-2] + data[begin:-2] * scans + b"\xff\xd9"


def test_time_is_bounded_for_a_progressive_jpeg_of_very_many_scans(paint: Paint) -> None:
    data = many_scans(paint(1, size=(3000, 3000)), 2000)
    began = time.monotonic()
    error = error_of(data, Limits(64_000_000, 100_000_000, 0.5))
    assert error.kind == "too-slow"
    assert error.what == "Decoding took longer than 0.5 s."
    assert "VIZSLA_DECODE_SECONDS" in str(error.do)
    assert time.monotonic() - began < 10


def test_an_ordinary_progressive_jpeg_is_read(paint: Paint) -> None:
    image = paint(2, size=(600, 400))
    plain, progressive = encoded(image, "JPEG", quality=90), encoded(image, "JPEG", quality=90, progressive=True)
    assert np.array_equal(pixels(plain), pixels(progressive))


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    for path, words in ((tmp_path / "folder.jpg", "Is a directory"), (tmp_path / "none.jpg", "There is no such file")):
        with pytest.raises(ImageError, match=words) as error:
            read_file(path, LIMITS)
        assert error.value.kind == "unreadable"
        assert error.value.where == str(path)


def test_a_file_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "big.jpg"
    with open(path, "wb") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(ImageError) as error:
        read_file(path, Limits(10_000, 1, 1))
    assert error.value.kind == "too-many-bytes"


SAMPLES = [("JPEG", {}), ("PNG", {}), ("GIF", {}), ("WEBP", {}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"})]


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    which=st.integers(0, len(SAMPLES) - 1),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    keep=st.floats(0, 1),
)
def test_any_damage_is_an_image_error_or_a_picture(which: int, changes: list[tuple[float, int]], keep: float) -> None:
    kind, options = SAMPLES[which]
    coarse = np.random.default_rng(which).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    data = bytearray(encoded(Image.fromarray(coarse).resize((64, 48)), kind, **options))
    for at, value in changes:
        data[int(at * (len(data) - 1))] = value
    data = data[: max(1, int(keep * len(data)))]
    error: ImageError | None = None
    try:
        assert decode(bytes(data), Limits(1_000_000, 1_000_000, 20)).image.mode == "RGB"
    except ImageError as caught:
        error = caught
    assert error is None or (error.kind in IMAGE_ERROR_KINDS and error.what.endswith("."))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file") as error:
        read_file(tmp_path / "pipe.jpg", LIMITS)
    assert error.value.kind == "unreadable"


def test_the_preview_in_a_raw_photo_is_not_taken_for_it(paint: Paint) -> None:
    data = encoded(paint(3, size=(160, 120)), "TIFF", tiffinfo={254: 1})  # as DNG and NEF begin
    with pytest.raises(ImageError, match="a raw photo: what comes first in it is a preview of 160 x 120") as error:
        decode(data, LIMITS)
    assert error.value.kind == "unreadable-format"
    assert error.value.do == "develop it to JPEG"
