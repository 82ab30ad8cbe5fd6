"""Trainings with a planted fault, each with the rules that must find it and those that may speak, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from .networks import Probabilities, weighted_layers
from .photos import CLASSES
from .run import Run


def _rate(optimizer: Callable[[Any], torch.optim.Optimizer], factor: float) -> Callable[[Any], torch.optim.Optimizer]:
    """The same optimizer with its learning rate times a factor."""

    def make(parameters: Any) -> torch.optim.Optimizer:
        made = optimizer(parameters)
        for group in made.param_groups:
            group["lr"] *= factor
        return made

    return make


def _fill(value: float) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        for layer in weighted_layers(net):
            nn.init.constant_(layer.weight, value)

    return change


def _scale(factor: float, *, last: bool = False) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        with torch.no_grad():
            for layer in weighted_layers(net)[-1:] if last else weighted_layers(net)[:-1]:
                layer.weight.mul_(factor)

    return change


def _bias(value: float) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        last = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)][:-1]
        for layer in last:
            if layer.bias is not None:
                nn.init.constant_(layer.bias, value)

    return change


def _freeze_head(net: nn.Module) -> None:
    weighted_layers(net)[-1].requires_grad_(False)


def _shuffled(labels: torch.Tensor) -> torch.Tensor:
    return labels[torch.randperm(len(labels))]


def _unequal(labels: torch.Tensor) -> torch.Tensor:
    few = [(labels == c).nonzero().flatten()[: 2 if c else 80] for c in range(CLASSES)]
    return torch.cat(few)


def _some(count: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda labels: torch.cat([(labels == c).nonzero().flatten()[: count // CLASSES] for c in range(CLASSES)])


def _nan_from(step: int) -> Callable[[int, Any, nn.Module], None]:
    def change(now: int, optimizer: Any, net: nn.Module) -> None:
        if now == step:
            with torch.no_grad():
                weighted_layers(net)[0].weight[0, 0] = torch.log(torch.tensor(-1.0))

    return change


def _leap(step: int, factor: float) -> Callable[[int, Any, nn.Module], None]:
    def change(now: int, optimizer: Any, net: nn.Module) -> None:
        if now == step:
            with torch.no_grad():
                weighted_layers(net)[-1].weight.mul_(-factor)

    return change


def _log_of_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.nll_loss(logits.abs() + 1, labels)


def faults(base: Run, plain: Run, deep: Callable[[type[nn.Module]], nn.Module]) -> Iterator[Run]:
    """Faulty runs from a healthy one with batch normalisation, one without, and a deep network by its activation."""
    flat = frozenset({"loss_not_decreasing"})

    def fault(run: Run, name: str, *expected: str, true_too: frozenset[str] = flat, **changes: Any) -> Run:
        return replace(run, name=name, expected=frozenset(expected), true_too=true_too, **changes)

    def rate(run: Run, factor: float) -> Callable[[Any], torch.optim.Optimizer]:
        return _rate(run.optimizer, factor)

    high = ("learning_rate_too_high", "exploding_tensor", "weight_update_ratio")
    consequences = flat | {"loss_spike", "dead_relu", "batch_norm_gap", "vanishing_gradient", "all_zero", *high}
    yield fault(base, "lr x100", *high, true_too=consequences, optimizer=rate(base, 100))
    yield fault(plain, "lr x300, no norm", *high, true_too=consequences, optimizer=rate(plain, 300))
    low = ("learning_rate_too_low", "loss_not_decreasing")
    yield fault(base, "lr / 100,000", *low, optimizer=rate(base, 1e-5))
    init = flat | {"vanishing_gradient", "all_zero", "dead_relu", "unchanged_tensor", "weight_update_ratio"}
    yield fault(plain, "all weights 0", "poor_weight_initialization", "all_zero", true_too=init, prepare=_fill(0.0))
    yield fault(plain, "all weights alike", "poor_weight_initialization", true_too=init, prepare=_fill(0.01))
    big = flat | {"learning_rate_too_high", "weight_update_ratio", "loss_spike", "dead_relu"}
    head = {"prepare": _scale(40, last=True)}
    yield fault(base, "head x40", "poor_weight_initialization", true_too=big, **head)
    dead = flat | {"vanishing_gradient", "all_zero", "poor_weight_initialization", "unchanged_tensor"}
    yield fault(plain, "biases -10", "dead_relu", true_too=dead, prepare=_bias(-10.0))
    yield fault(base, "norm biases -5", "dead_relu", true_too=dead, prepare=_bias(-5.0))
    yield fault(base, "optimizer with lr 0", "unchanged_tensor", optimizer=rate(base, 0.0))
    learned = {"rows": _some(150), "epochs": 40, "labels": _shuffled}
    yield fault(base, "shuffled labels", "shuffled_labels", true_too=flat | {"overfit"}, **learned)
    yield fault(
        base,
        "pixels 0..255",
        "check_input_images",
        true_too=flat | {"learning_rate_too_high", "loss_spike"},
        normalize="bytes",
    )
    black = dead | {"dead_relu", "shuffled_labels", "wrong_normalization"}
    yield fault(base, "black pictures", "check_input_images", "all_zero", true_too=black, normalize="black")
    nan = flat | {"learning_rate_too_high", "dead_relu"}
    yield fault(base, "NaN at step 30", "exploding_tensor", true_too=nan, at_step=_nan_from(30))
    few = {"rows": _some(50), "epochs": 40, "batch": 10}
    yield fault(base, "overfit on 50", "overfit", true_too=flat | {"overtraining"}, **few)
    summed = flat | {"learning_rate_too_high", "loss_spike", "weight_update_ratio", "dead_relu", "exploding_tensor"}
    yield fault(base, "summed loss", "summed_loss", true_too=summed, loss=nn.CrossEntropyLoss(reduction="sum"))
    yield fault(base, "softmax before loss", "softmax_before_loss", net=lambda: Probabilities(base.net()))
    yield fault(base, "NLL of no logarithms", "softmax_before_loss", true_too=consequences, loss=_log_of_probability)
    piled = consequences
    yield fault(base, "no zero_grad", "forgotten_zero_grad", true_too=piled, zero_grad=False)
    yield fault(base, "trains in eval mode", "wrong_mode", train_mode=False)
    yield fault(base, "evaluates in train mode", "wrong_mode", eval_mode=False)
    yield fault(base, "frozen head", "frozen_mismatch", prepare=_freeze_head)
    yield fault(base, "head not in optimizer", "optimizer_misses_layer", replace_head=True)
    sigmoids = flat | {"learning_rate_too_low", "unchanged_tensor", "weight_update_ratio"}
    yield fault(plain, "deep sigmoids", "vanishing_gradient", true_too=sigmoids, net=lambda: deep(nn.Sigmoid))
    stuck = flat | {"vanishing_gradient", "shuffled_labels", "learning_rate_too_low"}
    yield fault(
        plain, "saturated tanh", "saturated_activation", true_too=stuck, net=lambda: deep(nn.Tanh), prepare=_scale(60)
    )
    yield fault(base, "40 : 1", "class_imbalance", true_too=flat | {"overfit"}, rows=_unequal, epochs=30, batch=8)
    yield fault(
        base, "a leap at step 60", "loss_spike", true_too=flat | {"learning_rate_too_high"}, at_step=_leap(60, 30.0)
    )
    gap = flat | {"overfit", "check_input_images"}
    yield fault(base, "validation not normalised", "batch_norm_gap", true_too=gap, normalize_valid="bytes")
