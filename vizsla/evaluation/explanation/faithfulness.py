"""Whether a map points at what the model goes by: deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

STEPS = 16
RANDOM_MAPS = 3

Pixels = npt.NDArray[np.uint8]
Probabilities = Callable[[Pixels], npt.NDArray[np.float64]]
"""Pictures (n, size, size, 3) to the probability of the class that is explained, (n,)."""


@dataclass(frozen=True)
class Faithfulness:
    """Areas under the curves of the probability over the share of pixels, 0 to 1.

    ``deletion`` takes the strongest places away first: small is good. ``insertion`` puts them into a blurred picture
    first: large is good. ``random_`` ones are the means over maps of noise: a map that is no better says nothing.
    """

    deletion: float
    insertion: float
    random_deletion: float
    random_insertion: float

    @property
    def better_than_random(self) -> bool:
        """Whether the map is better on both counts."""
        return self.deletion < self.random_deletion and self.insertion > self.random_insertion

    def to_dict(self) -> dict[str, float | bool]:
        """Plain JSON values."""
        return {name: round(value, 6) for name, value in asdict(self).items()} | {
            "better_than_random": self.better_than_random
        }


def faithfulness(
    pixels: Pixels,
    strength: npt.NDArray[np.float64],
    probability: Probabilities,
    seed: int = 0,
    pieces: npt.NDArray[np.int64] | None = None,
) -> Faithfulness:
    """Judge a map.

    Parameters
    ----------
    pixels:
        The picture as the model sees it, (size, size, 3).
    strength:
        The map, (h, w) of any size: larger is stronger.
    pieces:
        The piece of each of its places, int64 (h, w), where it has one value a piece: so has the noise then.
    """
    rng = np.random.default_rng(seed)
    places = np.arange(strength.size).reshape(strength.shape) if pieces is None else pieces
    maps = [strength, *(rng.random(int(places.max()) + 1)[places] for _ in range(RANDOM_MAPS))]
    grey = np.broadcast_to(pixels.mean(axis=(0, 1)).astype(np.uint8), pixels.shape)
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(len(pixels) / 20)))
    stages = [
        stage
        for one in maps
        for begin, end in ((pixels, grey), (blurred, pixels))
        for stage in _stages(begin, end, _order(one, pixels.shape[:2]))
    ]
    answers = probability(np.stack(stages)).reshape(len(maps), 2, STEPS + 1)
    areas = (answers[..., 1:] + answers[..., :-1]).mean(axis=-1) / 2
    random_deletion, random_insertion = areas[1:].mean(axis=0)
    return Faithfulness(float(areas[0, 0]), float(areas[0, 1]), float(random_deletion), float(random_insertion))


def upscaled(strength: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """A map (h, w) at the size of a picture, between its places linearly."""
    image = Image.fromarray(strength.astype(np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float64)


def _order(strength: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The rank of each pixel, the strongest 0, (h, w)."""
    large = strength if strength.shape == shape else upscaled(strength, shape)
    rank = np.empty(large.size, np.int64)
    rank[np.argsort(-large.ravel(), kind="stable")] = np.arange(large.size)
    return rank.reshape(shape)


def _stages(begin: Pixels, end: Pixels, rank: npt.NDArray[np.int64]) -> list[Pixels]:
    """From one picture to the other, the pixels of lowest rank first."""
    most = rank.size
    return [np.where((rank < most * step // STEPS)[..., None], end, begin) for step in range(STEPS + 1)]
