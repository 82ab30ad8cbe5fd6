"""What is seen of a PyTorch loop without a word of its script: weights, gradients, activations, batches, optimizers.

Nothing stays on a module: while a step that is recorded runs its forward pass, hooks for all modules are set and taken
away again, and optimizers are seen by the hooks that torch has for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from vizsla.debugging.collections import RELUS, SATURATING, CollectionKeys, module_names
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.recorder import Recorder
from vizsla.debugging.statistics import activity, apart, blocks, numbers, sample

_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormAct2d", "SyncBatchNorm")
_MOST_NORMS = 12
"""Batch normalisations that are compared with their batch: the first, and others evenly over the depth."""
_MARGIN = 0.05
"""Of the range of normalised pictures: nearer to its ends is not beyond it."""


class Watch:
    """Looks at one model while it trains; ``on_fault`` is told what goes wrong within its modules' calls."""

    def __init__(self, recorder: Recorder, module: Any, on_fault: Callable[[BaseException], None]) -> None:
        self._recorder, self.outer, self._on_fault = recorder, module, on_fault
        inner = getattr(module, "_orig_mod", module)
        self.module, self.is_compiled = inner, inner is not module
        self.root = type(inner).__name__
        self._handles: list[Any] = []
        self._calls: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._compared: set[int] = set()
        self._before: list[Any] = []
        self._held: list[Any] = []
        self._parameters: dict[int, tuple[str, Any]] = {}
        self.has_stepped = False
        """Whether an optimizer has stepped since the last backward pass."""
        self.trained = False
        """Whether an optimizer has stepped since the last forward pass."""
        self.has_trained = False
        """Whether one ever has."""
        self.describe()

    def holds(self, module: Any) -> bool:
        """Whether a module is the model or a part of it."""
        return id(module) in self._names

    def describe(self) -> None:
        """Write down what the model is."""
        self._parameters = self._named()
        self._names = {id(m): name or self.root for name, m in self.module.named_modules()}
        module_names.update(self._names)
        self._recorder.collections.get(CollectionKeys.INPUT_IMAGE).add(f"{self.root}_input_0")
        norms = [m for m in self.module.modules() if _is_norm(m)]
        self._compared = {id(m) for m in norms[:: max(1, -(-len(norms) // _MOST_NORMS))]}
        config = getattr(self.module, "pretrained_cfg", None) or getattr(self.module, "default_cfg", None) or {}
        mean, std = config.get("mean"), config.get("std")
        types = [type(m).__name__ for m in self.module.modules()]
        self._recorder.facts |= {
            "model": self.root,
            "compiled": self.is_compiled,
            "parameters": {
                f"{self.root}_{name}": {"shape": list(p.shape), "trains": p.requires_grad}
                for name, p in self.module.named_parameters()
            },
            "norms": len(norms),
            "dropouts": sum(
                t.startswith("Dropout") and m.p > 0 for t, m in zip(types, self.module.modules(), strict=True)
            ),
            "normalization": {"mean": list(mean), "std": list(std)} if mean and std else None,
        }

    def begin(self, args: tuple[Any, ...]) -> None:
        """A forward pass of a step begins."""
        self.end()
        recorder = self._recorder
        self.trained = False
        if not recorder.wants_modules:
            return
        self.describe()
        watched = recorder.is_watched_step
        if watched:
            recorder.scalar("training", float(self.module.training), "facts")
            image = next((a for a in args if hasattr(a, "ndim") and a.ndim == 4), None)
            if image is not None:
                self._image(image)
        trains = recorder.mode in (ModeKeys.TRAIN, ModeKeys.GLOBAL)
        frozen, trained = list[tuple[str, Any, str]](), list[tuple[str, Any, str]]()
        for name, parameter in self.module.named_parameters():
            kind = CollectionKeys.WEIGHTS if parameter.ndim > 1 else CollectionKeys.BIASES
            (trained if parameter.requires_grad else frozen).append((f"{self.root}_{name}", parameter, kind))
        recorder.put_all(trained, watched=watched and trains)
        recorder.put_all(frozen, watched=False)
        self._calls = {}
        if not self.is_compiled:
            from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

            self._handles = [
                register_module_forward_pre_hook(self._guarded(self._entered)),
                register_module_forward_hook(self._guarded(self._left)),
            ]

    def _guarded(self, look: Callable[..., None]) -> Callable[..., None]:
        def guarded(*args: Any) -> None:
            try:
                look(*args)
            except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
                self._on_fault(error)

        return guarded

    def end(self) -> None:
        """The forward pass is over."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _image(self, image: Any) -> None:
        part = sample(image).float()
        values = [part.mean((0, 2, 3)), part.std((0, 2, 3), correction=0)]
        import torch

        self._recorder.row(
            "input_image", "input_image", torch.cat(values), len(image), numbers(part), ",".join(map(str, image.shape))
        )
        if config := self._recorder.facts["normalization"]:
            pairs = [*zip(config["mean"], config["std"], strict=True)]
            low, high = min(-m / s for m, s in pairs), max((1 - m) / s for m, s in pairs)
            margin = _MARGIN * (high - low)
            beyond = ((part < low - margin) | (part > high + margin)).float().mean()
            self._recorder.scalar("beyond_range", beyond, "facts")

    def _entered(self, module: Any, args: tuple[Any, ...]) -> None:
        name = self._names.get(id(module))
        if name is None or not args:
            return
        kind = type(module).__name__
        for tensor in _tensors(args):
            self._tensor(f"{name}_input", tensor, kind, is_input=True)
        if self._recorder.is_watched_step and id(module) in self._compared and hasattr(args[0], "ndim"):
            self._compare(name, module, args[0])

    def _left(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        name = self._names.get(id(module))
        if name is None:
            return
        own = module._parameters.get("weight")
        if own is not None and own.ndim > 1 and id(own) in self._parameters:
            self._recorder.facts["last_layer"] = self._parameters[id(own)][0]
        kind = type(module).__name__
        for tensor in _tensors(output):
            self._tensor(f"{name}_output", tensor, kind, is_input=False)

    def _tensor(self, stem: str, tensor: Any, kind: str, *, is_input: bool) -> None:
        number = self._calls.get(stem, 0)
        self._calls[stem] = number + 1
        name, recorder = f"{stem}_{number}", self._recorder
        trains = recorder.mode in (ModeKeys.TRAIN, ModeKeys.GLOBAL)
        judged = not is_input and kind in (*RELUS, *SATURATING) and recorder.is_watched_step and trains
        if not judged:
            recorder.put(name, tensor, module_type=kind, is_input=is_input)
            return
        part = sample(tensor).clone()  # what follows of it, another thread reckons
        alive = partial(activity, part, kind)
        recorder.put(name, tensor, kind, module_type=kind, watched=True, values=alive, sampled=part)

    def _compare(self, name: str, module: Any, tensor: Any) -> None:
        """How far a batch is from the statistics that a normalisation would use for it (:func:`apart`), and whether it
        is in training mode, with frozen parameters."""
        if module.running_mean is None or tensor.ndim not in (2, 4):
            return
        batch = sample(tensor)
        if batch.numel() // batch.shape[1] < 8:
            return
        kept = module.running_mean.clone(), module.running_var.clone()
        bias = None if module.bias is None else module.bias.detach().clone()
        frozen = module.weight is not None and not module.weight.requires_grad
        values = partial(apart, batch.clone(), *kept, module.eps, bias, (module.training, frozen))
        self._recorder.row(name, "batch_norm", values, len(tensor))

    def backward_begins(self, gradient: Any) -> None:
        """The gradient at the loss; and whether others are there from the step before, although an optimizer has used
        them."""
        self._recorder.scalar("loss_gradient", gradient, "facts")
        if not self.has_stepped:
            return
        self.has_stepped = False
        last = [p for p in self._held if p.grad is not None][-1:]
        value = last[0].grad.abs().max() if last else 0.0
        self._recorder.scalar("stale_gradient", value, "facts")

    def before_update(self, optimizer: Any) -> None:
        """An optimizer is about to step: the gradients are what it uses."""
        recorder = self._recorder
        if not any(id(p) in self._parameters for group in optimizer.param_groups[:1] for p in group["params"][:1]):
            self._parameters = self._named()
        held = [
            self._parameters[id(p)] for g in optimizer.param_groups for p in g["params"] if id(p) in self._parameters
        ]
        if not held:
            return
        self.has_stepped = self.trained = self.has_trained = True
        self._held = [p for _, p in held if p.requires_grad]
        self._describe_optimizer(optimizer, held)
        rates = {float(group["lr"]) for group in optimizer.param_groups if "lr" in group}
        with recorder.update():
            if recorder.is_watched_step and rates:
                recorder.scalar("lr", max(rates), "optimizer")
            if not recorder.wants_modules:
                return
            used = [(name, p) for name, p in held if p.grad is not None]
            dense = [(f"gradient/{n}", p.grad, CollectionKeys.GRADIENTS) for n, p in used if not p.grad.is_sparse]
            recorder.put_all(dense, watched=recorder.is_watched_step)
            if recorder.is_watched_step:
                self._before = [(name, p, blocks(p).clone()) for name, p in used]

    def _named(self) -> dict[int, tuple[str, Any]]:
        return {id(p): (f"{self.root}_{name}", p) for name, p in self.module.named_parameters()}

    def after_update(self) -> None:
        """The optimizer has stepped."""
        import torch

        before, self._before = self._before, []
        if not before:
            return
        with torch.no_grad():
            old = [old for _, _, old in before]
            torch._foreach_sub_(old, [blocks(p) for _, p, _ in before])
            norms = torch._foreach_norm(old, 2)
            times = [math.sqrt(p.numel() / max(1, part.numel())) for _, p, part in before]
            columns = torch.full((len(before), 6), torch.nan, device=norms[0].device)
            columns[:, 4] = torch.stack([norm.to(columns) for norm in norms]) * torch.tensor(times).to(columns)
        for (name, p, _), own in zip(before, columns.unbind(), strict=True):
            self._recorder.row(f"update/{name}", "updates", None, p.numel(), own, ",".join(map(str, p.shape)))

    def _describe_optimizer(self, optimizer: Any, held: list[tuple[str, Any]]) -> None:
        known = self._recorder.facts.setdefault("optimizers", {})
        key = f"{type(optimizer).__name__}-{len(known)}"
        key = next((k for k, facts in known.items() if facts["id"] == id(optimizer)), key)
        if key in known and known[key]["parameters"] == len(held):
            return
        known[key] = {
            "id": id(optimizer),
            "class": type(optimizer).__name__,
            "parameters": len(held),
            "holds": [name for name, _ in held],
        }


def _is_norm(module: Any) -> bool:
    return type(module).__name__ in _NORMS or (hasattr(module, "running_mean") and hasattr(module, "running_var"))


def _tensors(value: Any) -> list[Any]:
    if hasattr(value, "detach"):
        return [value]
    if isinstance(value, list | tuple):
        return [v for part in value for v in _tensors(part)]
    return [v for part in value.values() for v in _tensors(part)] if isinstance(value, dict) else []
