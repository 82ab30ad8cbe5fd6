"""Small training loops, sound and unsound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

STEPS = 18


class Pictures(Dataset[Any]):  # type: ignore[misc]
    """Small pictures, fetched at the price of a call."""

    def __init__(self, price: Callable[[], object] = lambda: None, n: int = 4 * STEPS) -> None:
        self.price, self.n = price, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        self.price()
        return torch.full((3, 32, 32), float(i % 3)), i % 3


class Shards(IterableDataset[Any]):  # type: ignore[misc]
    """All pictures in the first worker; the others have none."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        info = get_worker_info()
        for i in range(4 * STEPS if info is None or info.id == 0 else 0):
            yield torch.zeros(3, 32, 32), i % 3


def compute(seconds: float) -> Callable[[], object]:
    """Keeps a core busy."""

    def busy() -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    return busy


def network(width: int = 24) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(width, width, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(width, 3),
    )


def train(
    data: Dataset[Any] | IterableDataset[Any],
    *,
    workers: int = 0,
    epochs: int = 1,
    each: Callable[[torch.nn.Module, torch.Tensor], object] = lambda model, loss: loss.item(),
    after: Callable[[torch.nn.Module], object] = lambda model: None,
    accumulation: int = 1,
) -> None:
    """A plain loop; ``each`` is called after each step and ``after`` after each epoch."""
    torch.manual_seed(0)
    model, loss_of = network(), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(epochs):
        for number, (x, y) in enumerate(DataLoader(data, 4, num_workers=workers), 1):
            loss = loss_of(model(x), y)
            loss.backward()
            if number % accumulation == 0:
                optimizer.step()
                optimizer.zero_grad()
            each(model, loss)
        after(model)


def evaluate(model: torch.nn.Module, n: int) -> None:
    with torch.no_grad():
        for x, _ in DataLoader(Pictures(n=n), 4):
            model(x)


def save(folder: Path, seconds: float) -> Callable[[torch.nn.Module], object]:
    """Writes the model to a slow disk."""

    class SlowFile:
        def __init__(self, path: Path) -> None:
            self.file = open(path, "wb")  # noqa: SIM115

        def write(self, data: bytes) -> int:
            time.sleep(seconds / 20)
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    return lambda model: torch.save(model.state_dict(), SlowFile(folder / "model.pt"))  # type: ignore[arg-type]
