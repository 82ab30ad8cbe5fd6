"""A few numbers that say how a tensor is, computed where the tensor lies. Imports torch when it is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

_SAMPLED = 1 << 17
"""Elements of an activation that are looked at."""
_BLOCKED, _BLOCKS = 1 << 16, 64
TANH_LIMIT, SIGMOID_LIMIT = 2.65, 4.6
"""Inputs beyond which the output is within 0.01 of an end, so that the slope is under 0.04 of its largest."""


def numbers(tensor: Any) -> Any:
    """(6,) on the tensor's device, float32 or float64 as the tensor: smallest, largest, mean, sum of sizes, Euclidean
    norm, number of elements that are not 0. What follows from these is reckoned by the thread that writes them.

    float16 and bfloat16 are widened first, as their sums overflow.
    """
    import torch

    flat = tensor.detach().reshape(-1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()
    if flat.numel() == 0:
        return flat.new_full((6,), math.nan)
    low, high = torch.aminmax(flat)
    some = torch.count_nonzero(flat).to(flat.dtype)
    return torch.stack([low, high, flat.mean(), flat.norm(1), torch.dot(flat, flat).sqrt(), some])


class Together:
    """The numbers of many tensors of one device, as :func:`numbers` gives them, in a few calls: the norm is of all
    elements, the others of :func:`blocks` and raised to all. The loop that is watched only copies; what is reckoned is
    so by the thread that asks for :attr:`rows`."""

    def __init__(self, tensors: Sequence[Any]) -> None:
        import torch

        whole = [t.detach() if t.dtype in (torch.float32, torch.float64) else t.detach().float() for t in tensors]
        parts = [blocks(t).reshape(-1) for t in whole]
        self._counts = [(t.numel(), part.numel()) for t, part in zip(whole, parts, strict=True)]
        self._values = torch.cat(parts)
        self._norms = torch.stack(torch._foreach_norm(whole, 2))

    @cached_property
    def rows(self) -> list[tuple[float, ...]]:
        """Six numbers of each tensor."""
        values = self._values.cpu().numpy()
        counts = np.array(self._counts)
        has_any = counts[:, 1] > 0
        starts = (np.cumsum(counts[:, 1]) - counts[:, 1])[has_any]
        times = counts[has_any, 0] / counts[has_any, 1]
        columns = np.full((len(counts), 6), np.nan)
        columns[:, 4] = self._norms.cpu().numpy()
        with np.errstate(all="ignore"):
            low, high = (np.asarray(f.reduceat(values, starts), np.float64) for f in (np.minimum, np.maximum))
            mean = np.add.reduceat(values, starts, dtype=np.float64) / counts[has_any, 1]
            size = np.add.reduceat(np.abs(values), starts, dtype=np.float64) * times
            some = np.add.reduceat(values != 0, starts, dtype=np.int64) * times
        broken = ~np.isfinite(columns[has_any, 4])  # wherever it is, also between the blocks
        low, high = (np.where(broken & np.isfinite(v), columns[has_any, 4], v) for v in (low, high))
        for at, column in zip((0, 1, 2, 3, 5), (low, high, mean, size, some), strict=True):
            columns[has_any, at] = column
        return [tuple(row) for row in columns.tolist()]


def blocks(tensor: Any) -> Any:
    """At most 65,536 elements of a tensor: 64 blocks that lie evenly over it."""
    flat = tensor.detach().reshape(-1)
    apart, size = flat.numel() // _BLOCKS, _BLOCKED // _BLOCKS
    return flat if flat.numel() <= _BLOCKED else flat.as_strided((_BLOCKS, size), (apart, 1), flat.storage_offset())


def finish(n: int, low: float, high: float, mean: float, l1: float, l2: float, some: float) -> tuple[float, ...]:
    """Smallest, largest, mean, the population's standard deviation, mean size, norm, share of zeros; of
    :func:`numbers` of ``n`` elements."""
    variance = l2 * l2 / n - mean * mean if n else math.nan
    is_constant = low == high and math.isclose(l2, abs(low) * math.sqrt(n), rel_tol=1e-4)
    std = 0.0 if is_constant else math.sqrt(variance) if variance > 0 else max(variance, 0.0)
    return low, high, mean, std, l1 / n if n else math.nan, l2, 1 - some / n if n else math.nan


def sample(activation: Any) -> Any:
    """About a hundred thousand elements of a batch of activations: of (n, c, h, w) places of a coarser grid in every
    picture, else the first rows."""
    whole = activation.detach()
    if whole.numel() <= _SAMPLED or whole.ndim < 2:
        return whole
    if whole.ndim == 4:
        stride = math.ceil(math.sqrt(whole.numel() / _SAMPLED))
        whole = whole[:, :, stride // 2 :: stride, stride // 2 :: stride]
    per_row = max(1, whole[0].numel())
    return whole[: max(1, min(len(whole), _SAMPLED // per_row))]


def activity(activation: Any, kind: str, *, is_input: bool = False) -> Any:
    """(units,) float32: the share of a unit's values that are alive, over pictures and places.

    Alive is above 0 for a ReLU, and not saturated for a sigmoid or a tanh. A unit is a channel of (n, c, h, w), else
    an element of the last dimension.
    """
    import torch

    if kind == "Tanh":
        limit = TANH_LIMIT if is_input else math.tanh(TANH_LIMIT)
        alive = activation.abs() < limit
    elif kind == "Sigmoid":
        limit = SIGMOID_LIMIT if is_input else 1 / (1 + math.exp(-SIGMOID_LIMIT))
        alive = activation.abs() < limit if is_input else (activation < limit) & (activation > 1 - limit)
    else:
        alive = activation > 0
    others = [0, 2, 3] if alive.ndim == 4 else list(range(alive.ndim - 1))
    return alive.to(torch.float32).mean(dim=others) if others else alive.to(torch.float32)


def apart(batch: Any, mean: Any, variance: Any, eps: float, bias: Any, flags: tuple[bool, bool]) -> Any:
    """(6,) how far a batch (n, c[, h, w]) is from the mean and variance (c,) that a normalisation keeps: in standard
    deviations of the mean, and the log of the ratio of variances, both averaged over the channels; whether statistics
    and bias are as they begin; the ``flags``; whether the statistics are."""
    import torch

    flat = batch.float()
    over = [0, 2, 3] if flat.ndim == 4 else [0]
    spread, centre = torch.var_mean(flat, over, correction=0)
    distance = ((centre - mean).abs() / (variance + eps).sqrt()).mean()
    ratio = ((spread + eps) / (variance + eps)).log().abs().mean()
    untouched = (mean == 0).all() & (variance == 1).all()
    fresh = untouched if bias is None else untouched & (bias == 0).all()
    said = torch.tensor(flags, dtype=distance.dtype, device=distance.device)
    return torch.stack([distance, ratio, fresh.to(distance.dtype), *said, untouched.to(distance.dtype)])
