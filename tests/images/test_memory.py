"""Pictures that are in memory already become what their files become."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from vizsla.errors import ImageError, UsageError
from vizsla.images import Limits, decode, from_memory

LIMITS = Limits(10**8, 10**6, 20)


def stored(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_an_image_is_what_its_file_is(paint: Callable[..., Image.Image]) -> None:
    photo = paint(3)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    alpha = photo.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    deep = Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100) * 10)
    files = [
        stored(photo, "JPEG"),
        stored(photo, "JPEG", exif=turned),
        stored(alpha, "PNG"),
        stored(photo.convert("P"), "PNG"),
        stored(photo.convert("CMYK"), "TIFF"),
        stored(deep, "PNG"),
    ]
    for data in files:
        expected = decode(data, LIMITS)
        decoded = from_memory(Image.open(io.BytesIO(data)), LIMITS)
        assert decoded.full_size == expected.full_size
        assert np.array_equal(np.asarray(decoded.image), np.asarray(expected.image))


def test_arrays(paint: Callable[..., Image.Image]) -> None:
    photo = paint(4)
    for mode in ("RGB", "L", "RGBA"):
        image = photo.convert(mode)
        from_array = from_memory(np.asarray(image), LIMITS)
        assert np.array_equal(np.asarray(from_array.image), np.asarray(from_memory(image, LIMITS).image))
    view = np.asarray(photo)[..., ::-1]  # not contiguous
    assert np.array_equal(np.asarray(from_memory(view, LIMITS).image), view)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((2, 4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_arrays_that_are_no_picture(array: Any) -> None:
    with pytest.raises(UsageError, match="is no picture") as caught:
        from_memory(array, LIMITS)
    assert "uint8 of shape (height, width)" in str(caught.value.allowed)
    assert "astype('uint8')" in str(caught.value.do)


def test_bounds_and_damage(paint: Callable[..., Image.Image]) -> None:
    with pytest.raises(ImageError, match="too large to decode safely: 2000 x 2000"):
        from_memory(np.zeros((2000, 2000), np.uint8), LIMITS)
    cut = Image.open(io.BytesIO(stored(paint(1, size=(300, 300)), "JPEG")[:3000]))
    with pytest.raises(ImageError, match="data is broken"):
        from_memory(cut, LIMITS)
    with pytest.raises(ImageError, match="no known range"):
        from_memory(Image.new("F", (4, 4)), LIMITS)
