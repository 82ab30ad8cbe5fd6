"""A few numbers that say how a tensor is, computed where the tensor lies. Imports torch when it is called."""

from __future__ import annotations

import math
from typing import Any

_SAMPLED = 1 << 20
"""Elements of an activation that are looked at: whole pictures of the batch, the first ones."""
TANH_LIMIT, SIGMOID_LIMIT = 2.65, 4.6
"""Inputs beyond which the output is within 0.01 of an end, so that the slope is under 0.04 of its largest."""


def numbers(tensor: Any) -> Any:
    """(7,) float64 on the tensor's device: smallest, largest, mean, the population's standard deviation, mean size,
    Euclidean norm, share of elements that are exactly 0.

    float16 and bfloat16 are widened first, as their sums overflow.
    """
    import torch

    flat = tensor.detach().reshape(-1)
    n = flat.numel()
    if n == 0:
        return torch.full((7,), math.nan, dtype=torch.float64)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()
    if n == 1:
        value = flat[0].double()
        return torch.stack([value, value, value, value * 0, value.abs(), value.abs(), (value == 0).double()])
    low, high = torch.aminmax(flat)
    variance, mean = torch.var_mean(flat, correction=0)
    zeros = 1 - torch.count_nonzero(flat) / n
    parts = [low, high, mean, variance.sqrt(), flat.norm(1) / n, flat.norm(2), zeros]
    return torch.stack([part.double() for part in parts])


def sample(activation: Any) -> Any:
    """The first pictures of a batch of activations (n, ...), about a million elements."""
    per_picture = max(1, activation[0].numel()) if activation.ndim > 1 else 1
    return activation.detach()[: max(1, min(len(activation), _SAMPLED // per_picture))]


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
