"""The processes that train one network together, as the loop sees them. Imports torch."""

from __future__ import annotations

import contextlib
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

_T = TypeVar("_T")
Positions = npt.NDArray[np.int64]

BACKEND = "cpu:gloo,cuda:nccl"
"""Of torch.distributed: what a tensor goes by follows from where it lies."""


class Group:
    """One process, which trains alone: all of each batch is its own.

    In a :class:`ProcessGroup` each process takes a share of every batch, and all make the same step. Whoever calls a
    method of a group calls it in all of its processes.
    """

    size = 1

    def share(self, count: int) -> Positions:
        """Which of ``count`` pictures of a batch are this process's: positions in it, at least one."""
        return np.arange(count)

    def scale(self, count: int) -> float:
        """What the loss of a share is multiplied by, so that the mean over the processes is that of the batch."""
        return 1.0

    def whole(self, share: torch.Tensor, count: int) -> torch.Tensor:
        """All shares of ``count`` rows, in order, from this process's."""
        return share

    def mean(self, value: float) -> float:
        """The mean of a number over the processes."""
        return value

    def agreed(self, value: _T) -> _T:
        """What the first process says."""
        return value

    def replica(self, network: nn.Module) -> nn.Module:
        """The network as steps call it: its gradients are the mean over the processes after each backward pass."""
        return network

    def apart(self, replica: nn.Module) -> contextlib.AbstractContextManager[None]:
        """Within it, gradients are added up in each process: of a part of a batch that others follow."""
        return contextlib.nullcontext()


class ProcessGroup(Group):
    """The processes of torch's default group, of which this is one; each has its share on ``device``."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self._device = device
        self._replica: tuple[list[str], nn.Module] | None = None

    def share(self, count: int) -> Positions:
        return self._shares(count)[self.rank] if self.rank < count else np.arange(count)[-1:]

    def scale(self, count: int) -> float:
        return float(self.size) if self.rank < count else 0.0

    def whole(self, share: torch.Tensor, count: int) -> torch.Tensor:
        lengths = [len(positions) for positions in self._shares(count)]
        padded = share.new_zeros(max(lengths), *share.shape[1:])
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in lengths]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def mean(self, value: float) -> float:
        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total) / self.size

    def agreed(self, value: _T) -> _T:
        said: list[object] = [value]
        distributed.broadcast_object_list(said, device=torch.device("cpu"))
        return cast("_T", said[0])

    def replica(self, network: nn.Module) -> nn.Module:
        training = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        if self._replica is None or self._replica[0] != training:  # it holds to what trained when it was made
            devices = [self._device] if self._device.type == "cuda" else None
            self._replica = (
                training,
                DistributedDataParallel(
                    network, device_ids=devices, broadcast_buffers=False, find_unused_parameters=True
                ),
            )
        return self._replica[1]

    def apart(self, replica: nn.Module) -> contextlib.AbstractContextManager[None]:
        assert isinstance(replica, DistributedDataParallel)
        apart: contextlib.AbstractContextManager[None] = replica.no_sync()
        return apart

    def _shares(self, count: int) -> list[Positions]:
        return np.array_split(np.arange(count), self.size)
