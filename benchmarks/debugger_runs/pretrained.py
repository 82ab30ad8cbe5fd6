"""Trainings of a real backbone with its ImageNet weights, right and wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .photos import CLASSES
from .run import Run


def pretrained(weights: Path, *, frozen: bool) -> nn.Module:
    """mobilenetv2_100 with its ImageNet weights, in which batch normalisation is folded into the convolutions, and a
    new head. Its normalisations stay in evaluation mode."""
    import timm
    from safetensors.torch import load_file

    net = timm.create_model("mobilenetv2_100", num_classes=CLASSES)
    given = load_file(weights / "model.safetensors")
    net.load_state_dict({k: v for k, v in given.items() if not k.startswith("classifier")}, strict=False)
    net.pretrained_cfg = net.default_cfg = json.loads((weights / "config.json").read_text())["pretrained_cfg"]
    if frozen:
        net.requires_grad_(False)
        net.get_classifier().requires_grad_(True)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return net


def with_weights(weights: Path, optimizer: Callable[[Any], torch.optim.Optimizer], seed: int) -> list[Run]:
    """Runs of a real pretrained backbone: the first two are faulty."""

    def net() -> nn.Module:
        return pretrained(weights, frozen=True)

    base = Run("pretrained, head alone", net, optimizer, epochs=2, normalize="half", seed=seed)
    wrong = frozenset({"wrong_normalization"})
    return [
        replace(base, name="another backbone's normalisation", normalize="imagenet", expected=wrong),
        replace(base, name="normalised twice", normalize="twice", expected=wrong),
        base,
        replace(
            base,
            name="pretrained, all of it",
            net=lambda: pretrained(weights, frozen=False),
            optimizer=lambda p: torch.optim.AdamW(p, 1e-4),
        ),
    ]
