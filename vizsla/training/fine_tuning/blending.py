"""Pairs of pictures in one: mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899). Imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vizsla.training.fine_tuning.group import Group


def blended(
    batch: torch.Tensor, mixup: float, cutmix: float, seed: Sequence[int]
) -> tuple[torch.Tensor, float, torch.Tensor]:
    """A batch (n, ...) with another of its pictures laid over each, the share that is left of each, and which one (n,)
    lies over it. ``mixup`` and ``cutmix`` are the a of Beta(a, a), 0 for without; of both, one is drawn. Activations
    without height and width are always mixed.

    Examples
    --------
    >>> blended(torch.zeros(2, 3, 8, 8), 0.0, 0.0, [0])[1]
    1.0
    """
    everyone = torch.arange(len(batch))
    if not mixup and not cutmix:
        return batch, 1.0, everyone
    rng = np.random.default_rng([int(part) for part in seed])
    cuts = bool(cutmix) and batch.ndim == 4 and (not mixup or rng.random() < 0.5)
    a = cutmix if cuts or not mixup else mixup
    share, order = float(rng.beta(a, a)), torch.from_numpy(rng.permutation(len(batch)))
    if not cuts:
        return share * batch + (1 - share) * batch[order], share, order
    height, width = batch.shape[2:]
    side = (1 - share) ** 0.5
    sides = [(int(size * side), int(rng.integers(size))) for size in (height, width)]
    (top, bottom), (left, right) = (
        (max(0, centre - length // 2), min(size, centre - length // 2 + length))
        for size, (length, centre) in zip((height, width), sides, strict=True)
    )
    laid = batch.clone()
    laid[:, :, top:bottom, left:right] = batch[order, :, top:bottom, left:right]
    return laid, 1 - (bottom - top) * (right - left) / (height * width), order


def blended_share(
    share: torch.Tensor, count: int, mixup: float, cutmix: float, seed: Sequence[int], group: Group
) -> tuple[torch.Tensor, float, torch.Tensor]:
    """What :func:`blended` makes of a batch of ``count`` pictures, for those of it that are this process's ``share``:
    the others that lie over them are from the whole batch, by their place in it."""
    own = torch.from_numpy(group.share(count))
    if not mixup and not cutmix:
        return share, 1.0, own
    batch, left, order = blended(group.whole(share, count), mixup, cutmix, seed)
    return batch[own], left, order[own]
