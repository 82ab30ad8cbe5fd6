"""Batch normalisation over the batch of several processes, on processors: torch has it for GPUs only. Imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SharedStatistics(TorchFunctionMode):  # type: ignore[misc]
    """Within it, batch normalisation that learns takes mean and variance over the shares of all processes of torch's
    default group, which must call it equally often. Whatever module calls torch's function: none is replaced.

    A picture counts as often as it is there: so does the one that stands in for an empty share.
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func is functional.batch_norm and named["training"]:
            return _batch_norm(*args, **{name: value for name, value in named.items() if name != "training"})
        return func(*args, **named)


def _batch_norm(
    x: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    momentum: float,
    eps: float,
) -> torch.Tensor:
    """Ioffe and Szegedy, arXiv:1502.03167, algorithm 1, on (n, channels, ...); gradients pass through both moments."""
    others = [dim for dim in range(x.ndim) if dim != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    count = all_reduce(x.new_tensor(x.numel() / x.shape[1]))
    mean = all_reduce(x.sum(others)) / count
    centred = x - mean.view(shape)
    variance = all_reduce((centred * centred).sum(others)) / count
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.detach(), momentum)
        running_var.lerp_(variance.detach() * count / (count - 1), momentum)
    result = centred * (variance + eps).rsqrt().view(shape)
    if weight is not None and bias is not None:
        result = result * weight.view(shape) + bias.view(shape)
    return result
