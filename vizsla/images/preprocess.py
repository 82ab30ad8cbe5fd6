"""The settings that turn a picture into model input, and the one function that applies them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from vizsla.errors import ModelError
from vizsla.images.decode import DecodedImage, Limits, decode

Crop = Literal["center", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_DRAFT_MARGIN = 2.75
"""How much larger than wanted a scaled JPEG decode must stay. Measured in benchmarks/decoders.py: below 2.5 the
result differs from an antialiased resize of the full picture by more than one grey level on sharp photos."""

_LONGEST = 4
"""How many times the shorter side the longer one may be in a picture that crops are cut from."""


@dataclass(frozen=True)
class Preprocessing:
    """How a backbone wants its pictures. Stored inside the model, part of the feature cache's key.

    ``center`` resizes the shorter side to ``resize`` and cuts ``size`` x ``size`` from the middle; ``squash``
    resizes both sides to ``resize`` first (timm's ``crop_mode``). ``mean`` and ``std`` are per channel, on
    values in 0..1; the exported backbone holds them as well and applies them itself.
    """

    size: int
    resize: int
    crop: Crop
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def from_timm(cls, config: dict[str, Any]) -> Preprocessing:
        """Read timm's resolved data configuration (``timm.data.resolve_model_data_config``).

        Raises
        ------
        ModelError
            When the backbone wants something that is not offered here.
        """
        channels, height, width = config["input_size"]
        crop: Any
        crop, interpolation = config.get("crop_mode") or "center", config["interpolation"]
        if channels != 3 or height != width or crop not in ("center", "squash") or interpolation not in _FILTERS:
            raise ModelError(
                f"The backbone wants input {config['input_size']}, crop mode {crop!r}, "
                f"interpolation {interpolation!r}.",
                allowed=f"3 channels, square, center or squash, one of {', '.join(_FILTERS)}",
                do="choose another backbone",
            )
        return cls(
            size=height,
            resize=math.floor(height / config["crop_pct"]),
            crop=crop,
            interpolation=interpolation,
            mean=_triple(config["mean"]),
            std=_triple(config["std"]),
        )

    @classmethod
    def of_weights(cls, config: dict[str, Any] | None) -> Preprocessing | None:
        """As :meth:`from_timm`; None where the configuration is not known or not offered here."""
        try:
            return None if config is None else cls.from_timm(config)
        except (ModelError, ValueError, TypeError, KeyError):
            return None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Read what :meth:`to_dict` wrote."""
        try:
            return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})
        except (TypeError, KeyError) as error:
            raise ModelError(f"The model's preprocessing cannot be read: {error}.") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __call__(self, data: bytes, limits: Limits) -> npt.NDArray[np.uint8]:
        """Turn a picture file's bytes into model input.

        Returns
        -------
        uint8 array of shape (size, size, 3), RGB.

        Raises
        ------
        ImageError
            When the bytes are no usable picture.
        """
        decoded = self.open(data, limits)
        return self.apply(decoded.image, decoded.full_size)

    @property
    def short_side(self) -> int:
        """Pixels of the shorter side that :meth:`apply` needs: what a picture is decoded at for it."""
        return math.ceil(self.resize * _DRAFT_MARGIN)

    def open(self, data: bytes, limits: Limits) -> DecodedImage:
        """Decode a picture at the scale that :meth:`apply` needs.

        Raises
        ------
        ImageError
            When the bytes are no usable picture.
        """
        return decode(data, limits, short_side=self.short_side)

    def apply(self, image: Image.Image, full_size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Resize and crop an RGB picture in one step: only the pixels inside the crop are computed.

        The geometry is that of torchvision's ``Resize`` and ``CenterCrop`` on ``full_size`` (width, height),
        whatever the scale at which ``image`` was decoded.
        """
        width, height = self._resized(*(full_size or image.size))
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        if image.size == (width, height):
            return np.asarray(image.crop((left, top, left + self.size, top + self.size)))
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, (left + self.size) * across, (top + self.size) * down)
        # The last digits of a float product may reach over the edge, which Pillow refuses.
        box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], image.width), min(box[3], image.height))
        small = image.resize((self.size, self.size), _FILTERS[self.interpolation], box=box, reducing_gap=2.0)
        return np.asarray(small)

    def scaled(self, data: bytes, limits: Limits) -> npt.NDArray[np.uint8]:
        """A whole picture with its shorter side at ``resize``, (h, w, 3) uint8 RGB: what crops for training are cut
        from. Of a longer side only the middle four times that are kept; ``squash`` gives a square.

        Raises
        ------
        ImageError
            When the bytes are no usable picture.
        """
        decoded = self.open(data, limits)
        width, height = self._resized(*decoded.full_size)
        whole = decoded.image.resize((width, height), _FILTERS[self.interpolation], reducing_gap=2.0)
        across, down = min(width, _LONGEST * self.resize), min(height, _LONGEST * self.resize)
        left, top = (width - across) // 2, (height - down) // 2
        return np.asarray(whole.crop((left, top, left + across, top + down)))

    def box(self, full_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of a picture of ``full_size`` (width, height) that the model sees: left, top, right, bottom as
        fractions of the width and height."""
        width, height = self._resized(*full_size)
        left, top = round((width - self.size) / 2) / width, round((height - self.size) / 2) / height
        return left, top, left + self.size / width, top + self.size / height

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, size, size, 3) uint8 to (n, 3, size, size) float32, as the network itself sees it.

        The exported backbone does this inside; here it is for checking that export against the original.
        """
        scaled = pixels.astype(np.float32) / 255
        normal = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after the resize: torchvision's rounding (the longer side is cut to an integer)."""
        if self.crop == "squash":
            return self.resize, self.resize
        if width <= height:
            return self.resize, int(self.resize * height / width)
        return int(self.resize * width / height), self.resize


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
