"""What training costs here: seconds a picture, measured. Imports torch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from vizsla.errors import ImageError
from vizsla.images import Limits, Preprocessing, read_file
from vizsla.training.fine_tuning.augmentation import Recipe
from vizsla.training.fine_tuning.loop import out_of_memory
from vizsla.training.fine_tuning.network import Network

_STEPS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds that one picture takes in a training step, and where it is measured."""

    train: float
    measured: float

    def over(self, devices: int) -> Cost:
        """Where so many devices share the pictures."""
        return Cost(self.train / devices, self.measured / devices)

    def epoch(self, train: int, valid: int) -> float:
        """Seconds of an epoch over so many training and validation pictures."""
        return self.train * train + self.measured * valid


def cost(network: Network, example: torch.Tensor) -> Cost:
    """Time steps on a batch (n, ...), as a training would take them, on fewer pictures where memory holds no more; the
    weights stay as they are."""
    while True:
        try:
            return _cost(network, example)
        except RuntimeError as error:
            if not out_of_memory(error) or len(example) == 1:
                raise
            example = example[: len(example) // 2]


def picture_cost(paths: Sequence[Path], preprocessing: Preprocessing, recipe: Recipe) -> tuple[float, float]:
    """Seconds on one core until a picture is decoded for the store, and of drawing one crop of it: the mean of those
    that can be read."""
    limits = Limits.from_settings()
    decode, draw = [0.0], [0.0]
    for at, path in enumerate(paths):
        began = time.perf_counter()
        with contextlib.suppress(ImageError):
            picture = preprocessing.scaled(read_file(path, limits), limits)
            decoded = time.perf_counter()
            recipe(picture, [at])
            decode.append(decoded - began)
            draw.append(time.perf_counter() - decoded)
    return sum(decode) / max(1, len(decode) - 1), sum(draw) / max(1, len(draw) - 1)


def _cost(network: Network, example: torch.Tensor) -> Cost:
    labels = torch.zeros(len(example), dtype=torch.int64, device=example.device)

    def step() -> None:
        functional.cross_entropy(network(example), labels).backward()
        network.zero_grad(set_to_none=True)

    def passage() -> None:
        with torch.inference_mode():
            network(example)

    seconds = []
    for action in (step, passage):
        action()  # the first one is slow
        began = _now(example.device)
        for _ in range(_STEPS):
            action()
        seconds.append((_now(example.device) - began) / (_STEPS * len(example)))
    return Cost(*seconds)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
