"""What training costs here: seconds a picture, measured. Imports torch."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from vizsla.training.fine_tuning.loop import Network, out_of_memory

_STEPS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds that one picture takes in a training step, and where it is measured."""

    train: float
    measured: float

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
