"""What the loop trains on, batch by batch: pixels for a whole backbone, activations for its last blocks.

Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from vizsla.images import Preprocessing
from vizsla.training.fine_tuning.activations import ActivationFile
from vizsla.training.fine_tuning.augmentation import Recipe
from vizsla.training.fine_tuning.pixels import PixelStore

Rows = npt.NDArray[np.int64]
Share = Callable[[int], Rows]
"""Which pictures of a batch of so many are wanted here, by their place in it."""


class Inputs(Protocol):
    """Batches of tensors on the device that trains."""

    def epoch(
        self, batches: Sequence[Rows], seed: Sequence[int], first: int = 0, share: Share = np.arange
    ) -> Iterator[torch.Tensor]:
        """What training sees of the ``share`` of each batch of rows from the ``first`` on, drawn by ``seed``: the same
        of a picture, whoever else sees the others."""
        ...

    def on(self, device: torch.device, workers: int) -> Inputs:
        """The same on another device, for another process with so many workers of its own."""
        ...

    def plain(self, rows: Rows) -> torch.Tensor:
        """The rows as the saved model will see them."""
        ...


class PixelInputs:
    """Normalised pictures (n, 3, size, size), augmented from ``store``, or as ``plain`` has them.

    On a GPU worker processes draw the crops, so that the device never waits; on a processor the loop's own, as there is
    no other core to win.
    """

    def __init__(
        self,
        store: PixelStore,
        plain: PixelStore,
        recipe: Recipe,
        preprocessing: Preprocessing,
        device: torch.device,
        workers: int,
    ) -> None:
        self._store, self._plain, self._recipe, self._device = store, plain, recipe, device
        self._preprocessing = preprocessing
        self._workers = 0 if device.type == "cpu" else workers
        self._scale = torch.tensor([1 / (255 * s) for s in preprocessing.std], device=device).view(1, 3, 1, 1)
        shift = [-m / s for m, s in zip(preprocessing.mean, preprocessing.std, strict=True)]
        self._shift = torch.tensor(shift, device=device).view(1, 3, 1, 1)

    def on(self, device: torch.device, workers: int) -> PixelInputs:
        return PixelInputs(self._store, self._plain, self._recipe, self._preprocessing, device, workers)

    def epoch(
        self, batches: Sequence[Rows], seed: Sequence[int], first: int = 0, share: Share = np.arange
    ) -> Iterator[torch.Tensor]:
        places = [[(int(row), at) for row in rows[share(len(rows))]] for at, rows in enumerate(batches)]
        loader: DataLoader[torch.Tensor] = DataLoader(
            _Draws(self._store, self._recipe, [int(s) for s in seed]),
            batch_sampler=places[first:],
            num_workers=self._workers,
            multiprocessing_context="spawn" if self._workers else None,
            pin_memory=self._device.type == "cuda",
        )
        for pixels in loader:
            yield self._normalised(pixels)

    def plain(self, rows: Rows) -> torch.Tensor:
        return self._normalised(torch.from_numpy(np.stack([self._plain.picture(int(row)) for row in rows])))

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        channels_last = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return channels_last.float() * self._scale + self._shift


class _Draws(Dataset[torch.Tensor]):  # type: ignore[misc]
    """One draw of a picture's crop by (row, batch)."""

    def __init__(self, store: PixelStore, recipe: Recipe, seed: list[int]) -> None:
        self._store, self._recipe, self._seed = store, recipe, seed

    def __getitem__(self, place: tuple[int, int]) -> torch.Tensor:
        row, batch = place
        return torch.from_numpy(self._recipe(self._store.picture(row), [*self._seed, batch, row]))


class ActivationInputs:
    """Activations (n, ...) of one view of each picture, another one each epoch; the first view is the plain one."""

    def __init__(self, views: Sequence[ActivationFile], device: torch.device) -> None:
        self._views, self._device = views, device

    def on(self, device: torch.device, workers: int) -> ActivationInputs:
        return ActivationInputs(self._views, device)

    def epoch(
        self, batches: Sequence[Rows], seed: Sequence[int], first: int = 0, share: Share = np.arange
    ) -> Iterator[torch.Tensor]:
        for at, rows in list(enumerate(batches))[first:]:
            chosen = np.random.default_rng([*seed, at]).integers(0, len(self._views), len(rows))
            own = share(len(rows))
            views = zip(rows[own], chosen[own], strict=True)
            yield self._tensor(np.stack([self._views[view].take(row) for row, view in views]))

    def plain(self, rows: Rows) -> torch.Tensor:
        return self._tensor(self._views[0].take(rows))

    def _tensor(self, values: npt.NDArray[np.float16]) -> torch.Tensor:
        tensor = torch.from_numpy(values).to(self._device, non_blocking=True).float()
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
