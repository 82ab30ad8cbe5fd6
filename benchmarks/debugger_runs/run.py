"""One training with a hook: what may differ from a healthy one, and the loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vizsla.debugging import Hook

from .networks import weighted_layers
from .photos import CLASSES, Photos, pixels


@dataclass(frozen=True)
class Run:
    """One training. The fields say what differs from a healthy one."""

    name: str
    net: Callable[[], nn.Module]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    expected: frozenset[str] = frozenset()
    """Rules of which one must speak; none for a healthy run."""
    true_too: frozenset[str] = frozenset()
    """Rules that are right when they speak as well."""
    epochs: int = 5
    batch: int = 16
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = field(default_factory=nn.CrossEntropyLoss)
    prepare: Callable[[nn.Module], None] = lambda net: None
    """Changes the network before the optimizer is made."""
    replace_head: bool = False
    """After the optimizer is made."""
    normalize: str = "imagenet"
    normalize_valid: str | None = None
    labels: Callable[[torch.Tensor], torch.Tensor] = lambda labels: labels
    rows: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Chooses training pictures by their labels."""
    zero_grad: bool = True
    train_mode: bool = True
    eval_mode: bool = True
    validate: bool = True
    accumulate: int = 1
    at_step: Callable[[int, torch.optim.Optimizer, nn.Module], None] = lambda step, optimizer, net: None
    schedule: bool = False
    flip: bool = False
    seed: int = 0


def train(run: Run, photos: Photos, folder: Path) -> None:
    """Do it, with a hook that is told the model and nothing else."""
    torch.manual_seed(run.seed)
    rng = np.random.default_rng(run.seed)
    net = run.net()
    run.prepare(net)
    optimizer = run.optimizer([p for p in net.parameters() if p.requires_grad])
    if run.replace_head:
        _replace_head(net)
    pictures, labels = photos.train
    if run.rows is not None:
        chosen = run.rows(labels)
        pictures, labels = pictures[chosen], labels[chosen]
    torch.manual_seed(run.seed + 1)
    labels = run.labels(labels)
    hook = Hook(folder)
    hook.register_module(net)
    per_epoch = max(1, len(labels) // run.batch)
    total, step = run.epochs * per_epoch, 0
    first_rates = [group["lr"] for group in optimizer.param_groups]
    for _ in range(run.epochs):
        net.train(run.train_mode)
        order = rng.permutation(len(labels))
        for i in range(per_epoch):
            rows = torch.from_numpy(order[i * run.batch : (i + 1) * run.batch])
            x = pixels(pictures[rows], run.normalize)
            if run.flip and rng.random() < 0.5:
                x = x.flip(3)
            for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * step / total)) if run.schedule else 1)
            run.at_step(step, optimizer, net)
            loss = run.loss(net(x), labels[rows])
            if run.zero_grad and step % run.accumulate == 0:
                optimizer.zero_grad()
            loss.backward()
            if (step + 1) % run.accumulate == 0:
                optimizer.step()
            step += 1
        if run.validate:
            net.train(not run.eval_mode)
            with torch.no_grad():
                for x, y in zip(photos.valid[0].split(40), photos.valid[1].split(40), strict=True):
                    run.loss(net(pixels(x, run.normalize_valid or run.normalize)), y)
    hook.close()
    assert not hook.off


def _replace_head(net: nn.Module) -> None:
    old = weighted_layers(net)[-1]
    name = next(n for n, m in net.named_modules() if m is old)
    parent = net.get_submodule(name.rpartition(".")[0]) if "." in name else net
    setattr(parent, name.rpartition(".")[2], nn.Linear(old.in_features, CLASSES))
