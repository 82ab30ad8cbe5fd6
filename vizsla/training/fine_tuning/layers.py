"""How fast each block of a network learns, and from when on. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from vizsla.training.fine_tuning.config import FineTuneConfig


def learning_rate(share: float, config: FineTuneConfig) -> float:
    """After that share of the steps: a line up, then half a cosine down to 0."""
    if share < config.warmup:
        return float(config.lr or 0) * max(share / config.warmup, 0.04)
    return float(config.lr or 0) * 0.5 * (1 + math.cos(math.pi * (share - config.warmup) / (1 - config.warmup)))


@dataclass(frozen=True)
class LayerGroup:
    """Parameters of one block: its weights, which decay, or its biases and scales, which do not. ``above`` blocks lie
    between it and the head, whose own is 0."""

    parameters: list[nn.Parameter]
    above: int
    decays: bool

    def factor(self, config: FineTuneConfig) -> float:
        """Its part of the learning rate."""
        return float(config.layer_decay**self.above)


def layer_groups(head: nn.Linear, body: Iterable[tuple[str, nn.Parameter]]) -> list[LayerGroup]:
    """The head, then the blocks from the last to the first; a normalisation belongs to the block before it."""
    blocks: dict[str, list[nn.Parameter]] = {}
    for name, parameter in body:
        *modules, _ = name.removeprefix("module.").split(".")
        blocks.setdefault(".".join(modules[:2]), []).append(parameter)
    layers: list[list[nn.Parameter]] = []
    for parameters in blocks.values():
        if layers and all(parameter.ndim == 1 for parameter in parameters):
            layers[-1] += parameters
        else:
            layers.append(parameters)
    groups = []
    for above, parameters in enumerate([list(head.parameters()), *reversed(layers)]):
        for decays in (True, False):
            own = [parameter for parameter in parameters if (parameter.ndim > 1) == decays]
            groups.append(LayerGroup(own, above, decays))
    return [group for group in groups if group.parameters]


def make_optimizer(groups: list[LayerGroup], config: FineTuneConfig) -> torch.optim.Optimizer:
    """The optimizer that is asked for."""
    lr = float(config.lr or 0)
    parameters = [
        {"params": group.parameters, "weight_decay": config.weight_decay if group.decays else 0.0} for group in groups
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, momentum=config.momentum, nesterov=config.nesterov)
    return (torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW)(parameters, lr)


def thaw(groups: list[LayerGroup], epoch: int, config: FineTuneConfig) -> None:
    """Let the blocks train whose turn has come."""
    for group in groups:
        for parameter in group.parameters:
            parameter.requires_grad_(epoch >= config.unfreeze * group.above)
