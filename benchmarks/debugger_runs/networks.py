"""Small networks that train in seconds."""

from __future__ import annotations

import torch
from torch import nn

from .photos import CLASSES, SIDE


def convolutional(
    width: int = 16, *, norm: bool = True, dropout: float = 0.0, act: type[nn.Module] = nn.ReLU
) -> nn.Module:
    """Three blocks, and a linear head on the mean."""
    layers: list[nn.Module] = []
    channels = 3
    for factor in (1, 2, 4):
        layers.append(nn.Conv2d(channels, width * factor, 3, padding=1, stride=2))
        layers += [nn.BatchNorm2d(width * factor)] if norm else []
        layers.append(act())
        channels = width * factor
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        nn.Linear(channels, CLASSES),
    ]
    return nn.Sequential(*layers, *head)


def perceptron(hidden: int = 128, depth: int = 2, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Linear layers over pixels of a quarter of the side."""
    width, layers = 3 * (SIDE // 4) ** 2, [nn.AvgPool2d(4), nn.Flatten()]
    for _ in range(depth):
        layers += [nn.Linear(width, hidden), act()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


class Probabilities(nn.Module):
    """A network that ends in a softmax."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.softmax = net, nn.Softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.net(x))


def weighted_layers(net: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers, in their order."""
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
