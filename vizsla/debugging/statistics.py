"""A few numbers that say how a tensor is, computed where the tensor lies. Imports torch when it is called."""

from __future__ import annotations

import math
from typing import Any

_SAMPLED = 1 << 17
"""Elements of an activation that are looked at."""
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
    return torch.stack([low, high, flat.mean(), flat.norm(1), flat.norm(2), some])


def finish(n: int, low: float, high: float, mean: float, l1: float, l2: float, some: float) -> tuple[float, ...]:
    """Smallest, largest, mean, the population's standard deviation, mean size, norm, share of zeros; of
    :func:`numbers` of ``n`` elements."""
    variance = l2 * l2 / n - mean * mean if n else math.nan
    std = 0.0 if low == high else math.sqrt(variance) if variance > 0 else max(variance, 0.0)
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
