"""What trains: a body and a linear head on its features. Imports torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from vizsla.models.folding import Pass, folded
from vizsla.models.heads.linear import LinearHead
from vizsla.models.trunk import Features


class Network(nn.Module):  # type: ignore[misc]
    """What trains: a body that ends in features (n, d), and a linear head on them."""

    trains_statistics = False
    """Whether batch normalisation learns statistics of its own."""
    bfloat16 = False
    """Whether products are of bfloat16; weights, their updates and the loss stay float32."""

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body, self.head = body, head
        self._frozen: Pass = body.__call__
        """The body where statistics stay: no module, as its parameters are the body's."""

    @classmethod
    def of(cls, body: nn.Module, head: LinearHead, device: torch.device) -> Network:
        """A body with a head that was trained on its features."""
        linear = nn.Linear(head.weight.shape[1], head.weight.shape[0])
        network = cls(body, linear)
        fill(network, {"head.weight": torch.from_numpy(head.weight), "head.bias": torch.from_numpy(head.bias)})
        network.to(device, memory_format=torch.channels_last).eval().requires_grad_(True)
        network._frozen = folded(network.body)
        return network

    def named_weights(self) -> Iterable[tuple[str, nn.Parameter]]:
        """The body's parameters by name, but those of a classifier that it came with."""
        return self.body.named_weights() if isinstance(self.body, Features) else self.body.named_parameters()

    def prepare(self) -> None:
        """For steps: nothing is dropped out, as the pictures are few; statistics are learned where they shall be."""
        self.eval()
        for module in self.modules() if self.trains_statistics else ():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm):
                module.train()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.bfloat16):
            features = self.body(inputs) if self.trains_statistics else self._frozen(inputs)
            logits: torch.Tensor = self.head(features)
        return logits.float()


@contextlib.contextmanager
def swapped(network: Network, average: dict[str, torch.Tensor]) -> Iterator[None]:
    """The network with its averaged weights, as long as the block lasts."""
    own = {name: p.detach().clone() for name, p in network.named_parameters()} if average else {}
    fill(network, average)
    yield
    fill(network, own)


def fill(network: Network, values: dict[str, torch.Tensor]) -> None:
    """Set parameters and buffers by name."""
    with torch.no_grad():
        for name, tensor in tensors(network):
            if name in values:
                tensor.copy_(values[name].reshape(tensor.shape))


def tensors(network: Network) -> Iterator[tuple[str, torch.Tensor]]:
    """Every parameter and buffer by name."""
    yield from network.named_parameters()
    yield from network.named_buffers()
