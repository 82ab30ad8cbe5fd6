"""What training sees of a picture: a crop of it, perhaps turned over and in other colours. Imports torch.

A draw follows from its seed alone, whichever process makes it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import v2

from vizsla.images import Preprocessing
from vizsla.training.fine_tuning.config import Augmentation

_FILTERS = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "lanczos": v2.InterpolationMode.BICUBIC,  # torch has no other that is as sharp
}
_SMALLEST = {"light": 0.6, "medium": 0.35, "strong": 0.2}
"""The least share of a picture's area that a crop shows."""

_one_at_a_time = threading.Lock()
"""torchvision draws from the one generator of the process."""


class Recipe:
    """One recipe of augmentation.

    ``none`` cuts the middle, as the saved model does; ``light`` crops at random; ``medium`` crops more and varies the
    colours; ``strong`` adds TrivialAugment (arXiv:2103.10158) and random erasing (arXiv:1708.04896). ``flip`` turns
    half of the pictures over.
    """

    def __init__(self, name: Augmentation, flip: bool, preprocessing: Preprocessing) -> None:
        size, interpolation = preprocessing.size, _FILTERS[preprocessing.interpolation]
        steps: list[torch.nn.Module] = []
        if name == "none":
            steps.append(v2.CenterCrop(size))
        else:
            scale = (_SMALLEST[name], 1.0)
            steps.append(v2.RandomResizedCrop(size, scale, interpolation=interpolation, antialias=True))
        if flip:
            steps.append(v2.RandomHorizontalFlip())
        if name == "medium":
            steps.append(v2.ColorJitter(0.2, 0.2, 0.2))
        if name == "strong":
            steps += [v2.TrivialAugmentWide(), v2.RandomErasing(0.25, value=127)]
        self._transform = v2.Compose(steps)

    def __call__(self, picture: npt.NDArray[np.uint8], seed: Sequence[int]) -> npt.NDArray[np.uint8]:
        """One draw: (h, w, 3) to (size, size, 3), uint8."""
        with _one_at_a_time, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
            drawn: npt.NDArray[np.uint8] = self._transform(pixels).permute(1, 2, 0).contiguous().numpy()
        return drawn
