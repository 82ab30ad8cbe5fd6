"""How a picture looks, in a few numbers that need no model: what slices of a data set are made of."""

from __future__ import annotations

import contextlib
import copy
import io
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from vizsla import shared_cache
from vizsla.images import DecodedImage, readable_formats

LOOK = np.dtype(
    [
        ("sha256", np.uint8, 32),
        ("brightness", np.float32),
        ("contrast", np.float32),
        ("sharpness", np.float32),
        ("colourfulness", np.float32),
        ("colour", np.uint8),
        ("camera", "U40"),
    ]
)
"""One picture. ``brightness`` and ``contrast`` are mean and standard deviation of the luma, 0 to 255; ``sharpness`` is
log10 of the variance of its Laplacian over its own variance; ``colourfulness`` that of Hasler and Suesstrunk 2003;
``colour`` a position in :data:`COLOURS`; ``camera`` is EXIF's Make and Model, or empty."""

COLOURS = ("grey", "red", "yellow", "green", "cyan", "blue", "purple")
"""Dominant colours: grey where saturation is low, else the sixth of the circle of hues that weighs most."""

SHORT_SIDE = 256
"""Pixels of the shorter side at which a picture is looked at."""

_GREY = 0.2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Looks = npt.NDArray[np.void]


def look(decoded: DecodedImage) -> Looks:
    """The record of one picture, shape (), its ``sha256`` zero."""
    image = decoded.image
    scale = SHORT_SIDE / min(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BOX)
    pixels = np.asarray(image, np.float32)
    luma = pixels @ _LUMA
    record = np.zeros((), LOOK)
    record["brightness"], record["contrast"] = luma.mean(), luma.std()
    record["sharpness"] = _sharpness(luma)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    opponents = red - green, (red + green) / 2 - blue
    record["colourfulness"] = np.hypot(*(o.std() for o in opponents)) + 0.3 * np.hypot(*(o.mean() for o in opponents))
    record["colour"] = _colour(image)
    record["camera"] = _camera(decoded.data)
    return record


def _sharpness(luma: npt.NDArray[np.float32]) -> float:
    if min(luma.shape) < 3:
        return 0.0
    middle = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * middle
    return float(np.log10((laplacian.var() + 1e-3) / (middle.var() + 1)))


def _colour(image: Image.Image) -> int:
    small = np.asarray(image.resize((48, 48), Image.Resampling.BOX).convert("HSV"), np.float32) / 255
    hue, weight = small[..., 0].ravel(), (small[..., 1] * small[..., 2]).ravel()
    if weight.mean() < _GREY:
        return 0
    sixth = ((hue * 6 + 0.5).astype(np.int64)) % 6
    return 1 + int(np.bincount(sixth, weights=weight, minlength=6).argmax())


def _camera(data: bytes) -> str:
    if b"Exif" not in data[:65536]:
        return ""
    with contextlib.suppress(Exception), Image.open(io.BytesIO(data), formats=readable_formats()) as image:
        exif = image.getexif()
        words = [str(exif.get(tag) or "").strip(" \0") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
        make, model = words
        return (model if model.startswith(make) else f"{make} {model}").strip()[:40]
    return ""


class LookStore:
    """Records of :data:`LOOK` by content, in files that are only ever added; safe to delete at any time."""

    def __init__(self, cache: Path) -> None:
        self.folder = cache / "scans" / "looks1"
        shared_cache.fetch(self.folder)
        parts = [part for path in sorted(self.folder.glob("*.npy")) if (part := _read(path)) is not None]
        looks = np.concatenate(parts) if parts else np.zeros(0, LOOK)
        words = np.ascontiguousarray(looks["sha256"]).view(np.uint64)[:, 0] if len(looks) else np.zeros(0, np.uint64)
        order = np.argsort(words, kind="stable")
        self._looks, self._words = looks[order], words[order]

    def at(self, cache: Path) -> LookStore:
        """The same records, with what is added lying in another cache."""
        other = copy.copy(self)
        other.folder = cache / "scans" / "looks1"
        return other

    def find(self, sha256: npt.NDArray[np.uint8]) -> tuple[Looks, npt.NDArray[np.bool_]]:
        """The records of some contents (n, 32) uint8, and which of them are known, bool (n,)."""
        if not len(self._looks):
            return np.zeros(len(sha256), LOOK), np.zeros(len(sha256), bool)
        words = np.ascontiguousarray(sha256).view(np.uint64)[:, 0]
        looks = self._looks[np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)]
        return looks, (looks["sha256"] == sha256).all(axis=1)

    def add(self, looks: Sequence[Looks]) -> None:
        """Keep records for later runs.

        Raises
        ------
        StorageError
            When the cache cannot be written.
        """
        if looks:
            file = io.BytesIO()
            np.save(file, np.stack(looks))
            shared_cache.write(self.folder / f"{uuid.uuid4().hex}.npy", file.getvalue())


def _read(path: Path) -> Looks | None:
    try:
        looks: Looks = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return looks if looks.dtype == LOOK and looks.ndim == 1 else None
