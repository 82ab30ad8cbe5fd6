"""Short trainings with a planted fault, and healthy ones, on real photos: what the debugger's rules are judged on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from vizsla.debugging import Hook

SIDE, CLASSES = 48, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Photos:
    """uint8 (n, 3, side, side) and int64 (n,), for training and for validation."""

    train: tuple[torch.Tensor, torch.Tensor]
    valid: tuple[torch.Tensor, torch.Tensor]


def load_photos(folder: Path, train: int = 80, valid: int = 24, side: int = SIDE, *, skip: int = 0) -> Photos:
    """The five largest classes of a data set in train/ and valid/, so many pictures of each at most, behind the first
    ``skip``; of validation pictures, behind a half of them."""
    classes = sorted((folder / "train").iterdir(), key=lambda p: (-len(list(p.iterdir())), p.name))[:CLASSES]

    def read(split: str, count: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, labels = [], []
        for label, name in enumerate(sorted(p.name for p in classes)):
            for path in sorted((folder / split / name).iterdir())[first : first + count]:
                with Image.open(path) as image:
                    image.draft("RGB", (side * 2, side * 2))
                    pictures.append(np.asarray(image.convert("RGB").resize((side, side))))
                labels.append(label)
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), torch.tensor(labels)

    return Photos(read("train", train, skip), read("valid", valid, skip // 2))


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


def pixels(pictures: torch.Tensor, how: str) -> torch.Tensor:
    """float32 pictures as a network is given them."""
    x = pictures.float()
    if how == "bytes":
        return x
    if how == "black":
        return x * 0
    if how == "unit":
        return x / 255
    if how == "half":
        return x / 127.5 - 1
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    x = (x / 255 - mean) / std
    return (x - mean) / std if how == "twice" else x


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


# Networks.


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


class Probabilities(nn.Module):
    """A network that ends in a softmax."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.softmax = net, nn.Softmax(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.net(x))


def _linear(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def _replace_head(net: nn.Module) -> None:
    old = _linear(net)[-1]
    name = next(n for n, m in net.named_modules() if m is old)
    parent = net.get_submodule(name.rpartition(".")[0]) if "." in name else net
    setattr(parent, name.rpartition(".")[2], nn.Linear(old.in_features, CLASSES))


def _rate(optimizer: Callable[[Any], torch.optim.Optimizer], factor: float) -> Callable[[Any], torch.optim.Optimizer]:
    """The same optimizer with its learning rate times a factor."""

    def make(parameters: Any) -> torch.optim.Optimizer:
        made = optimizer(parameters)
        for group in made.param_groups:
            group["lr"] *= factor
        return made

    return make


# Faults.


def _fill(value: float) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        for layer in _linear(net):
            nn.init.constant_(layer.weight, value)

    return change


def _scale(factor: float, *, last: bool = False) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        with torch.no_grad():
            for layer in _linear(net)[-1:] if last else _linear(net)[:-1]:
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
    _linear(net)[-1].requires_grad_(False)


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
                _linear(net)[0].weight[0, 0] = torch.log(torch.tensor(-1.0))

    return change


def _leap(step: int, factor: float) -> Callable[[int, Any, nn.Module], None]:
    def change(now: int, optimizer: Any, net: nn.Module) -> None:
        if now == step:
            with torch.no_grad():
                _linear(net)[-1].weight.mul_(-factor)

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


def healthy(base: Run, plain: Run) -> Iterator[Run]:
    """Trainings that nothing is wrong with."""
    yield replace(base, name="batch normalisation")
    yield replace(plain, name="without normalisation")
    yield replace(base, name="batches of 8", batch=8)
    yield replace(base, name="label smoothing", loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    yield replace(base, name="cosine and flips", schedule=True, flip=True)
    yield replace(base, name="dropout", net=lambda: convolutional(dropout=0.3))
    yield replace(base, name="accumulation over 2", accumulate=2)
    yield replace(base, name="no validation", validate=False)
    yield replace(base, name="3 : 1", rows=_three_to_one)
    yield replace(base, name="AdamW", optimizer=lambda p: torch.optim.AdamW(p, 2e-3, weight_decay=0.01))
    yield replace(plain, name="a perceptron", net=perceptron)
    yield replace(base, name="pixels 0..1", normalize="unit")
    yield replace(base, name="short", epochs=2)


def _three_to_one(labels: torch.Tensor) -> torch.Tensor:
    return torch.cat([(labels == c).nonzero().flatten()[: 26 if c % 2 else 80] for c in range(CLASSES)])


def with_weights(weights: Path, optimizer: Callable[[Any], torch.optim.Optimizer], seed: int) -> list[Run]:
    """Runs of a real pretrained backbone: the first is faulty."""

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
