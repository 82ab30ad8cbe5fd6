"""Pictures that are in memory already: Pillow's images and numpy's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from vizsla.errors import ImageError, UsageError
from vizsla.images.decode import DECODER_FAULTS, UPRIGHT, DecodedImage, Limits, to_rgb, too_many_pixels

_ARRAYS = "uint8 of shape (height, width), (height, width, 3) in RGB or (height, width, 4) in RGBA"


def from_memory(picture: Image.Image | npt.NDArray[Any], limits: Limits) -> DecodedImage:
    """An upright RGB picture from one that is decoded already, treated as :func:`~vizsla.images.decode` does.

    A large JPEG is decoded at a reduced scale where its file is given, and in full here: of such a picture the last
    digits may differ.

    Raises
    ------
    UsageError
        For an array of another type or shape.
    ImageError
        For more pixels than the limit, or data that cannot be decoded after all: Pillow reads an image when it is used.
    """
    image = picture if isinstance(picture, Image.Image) else _from_array(picture)
    if image.width * image.height > limits.max_pixels:
        raise too_many_pixels(f"{image.width} x {image.height}", limits)
    try:
        image.load()
        turned = image.getexif().get(ExifTags.Base.Orientation, 1)
        rgb = to_rgb(image)
    except DECODER_FAULTS as error:
        raise ImageError("damaged", f"The picture's data is broken ({error or type(error).__name__}).") from error
    if (operation := UPRIGHT.get(turned)) is not None:
        rgb = rgb.transpose(operation)
    return DecodedImage(rgb, rgb.size, b"", suspect=False)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not fits or not array.size:
        raise UsageError(
            f"An array of {array.dtype} of shape {array.shape} is no picture.",
            where="parameter image",
            allowed=_ARRAYS,
            do="(255 * array).astype('uint8') of values from 0 to 1; array.transpose(1, 2, 0) where the colours come "
            "first; array[..., ::-1] of OpenCV's BGR",
        )
    return Image.fromarray(array)
