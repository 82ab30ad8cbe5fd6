"""What is put around torch's own calls, so that a loop that knows nothing of it has phases. Imports torch.

Nothing stays on a model, an optimizer or a loader; nothing is read from a device. Of a thread that is not the one
that trains, and of a process that was forked off, nothing is recorded.
"""

from __future__ import annotations

import builtins
import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import overrides
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader, dataloader
from torch.utils.data._utils import fetch

from vizsla.profiling import loaders
from vizsla.profiling.control import Control
from vizsla.profiling.timeline import LAST, MARK, Phase, Timeline

_FIRST_STEPS = 3
"""After which the facts of the loop are known: threads, device, precision."""
_undo: list[Callable[[], None]] = []


def install(timeline: Timeline) -> None:
    """Watch torch in this process; once."""
    if _undo:
        return
    loaders.begin()
    control = Control(timeline)
    timeline.steered = control.steer
    _watch_modules(timeline, control)
    _watch_backward(timeline)
    _watch_optimizers(timeline, control)
    _watch_loaders(timeline, control)
    _watch_tensors(timeline)
    watch_functions(timeline, torch, {"save": Phase.CHECKPOINT, "load": Phase.WEIGHTS})
    watch_functions(timeline, torch.jit, {"save": Phase.CHECKPOINT, "load": Phase.WEIGHTS})
    watch_functions(timeline, torch.nn.Module, {"load_state_dict": Phase.WEIGHTS})
    watch_functions(timeline, builtins, {"print": Phase.LOGGING})
    watch_functions(timeline, logging.Logger, {"handle": Phase.LOGGING})


def uninstall() -> None:
    """All as it was."""
    while _undo:
        _undo.pop()()


def _replace(owner: Any, name: str, value: Any) -> None:
    original = getattr(owner, name)
    setattr(owner, name, value)
    _undo.append(lambda: setattr(owner, name, original))


def watch_functions(timeline: Timeline, owner: Any, phases: Mapping[str, Phase], flags: int = 0) -> None:
    """Call what some functions of a module or class do by the name of a phase."""
    for name, phase in phases.items():
        if hasattr(owner, name):
            _replace(owner, name, _in_phase(timeline, getattr(owner, name), phase, flags))


def _in_phase(timeline: Timeline, original: Callable[..., Any], phase: Phase, flags: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not timeline.is_here or timeline.is_whole:
            return original(*args, **kwargs)
        timeline.begin(phase)
        try:
            return original(*args, **kwargs)
        finally:
            timeline.end(flags)

    return call


def _watch_modules(timeline: Timeline, control: Control) -> None:
    """The outermost call of a module is a forward pass: of a model, or of a loss."""
    original: Any = torch.nn.Module.__call__
    grad, compiling = torch.is_grad_enabled, torch.compiler.is_compiling

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling() or timeline.inside or not timeline.is_here or timeline.is_whole:
            return original(self, *args, **kwargs)
        timeline.inside = 1
        timeline.begin(Phase.FORWARD)
        try:
            if control.loop is not None:
                return control.loop.call(original, self, args, kwargs)
            return original(self, *args, **kwargs)
        finally:
            timeline.inside = 0
            shape: Any = getattr(args[0], "shape", ()) if args else ()
            n = shape[0] if len(shape) > 1 else 0
            timeline.end(0 if grad() else MARK, n if type(n) is int else 0)  # a tensor, in a trace

    _replace(torch.nn.Module, "__call__", call)


def watch_compiling(timeline: Timeline, callback: Any) -> None:
    """Whatever ``torch.compile`` compiles, of a model or a function, again or for the backward pass."""
    handler = callback.callback_handler

    def before(event: Any) -> None:
        if timeline.is_here:
            timeline.begin(Phase.COMPILE)

    def after(event: Any) -> None:
        if timeline.is_here:
            timeline.unwind(Phase.COMPILE)

    handler.register_start_callback(before)
    handler.register_end_callback(after)
    _undo.append(functools.partial(handler.remove_start_callback, before))
    _undo.append(functools.partial(handler.remove_end_callback, after))


def _watch_backward(timeline: Timeline) -> None:
    watch_functions(timeline, torch.autograd, {"backward": Phase.BACKWARD})
    watch_functions(timeline, torch.autograd, {"grad": Phase.BACKWARD}, MARK)


def _watch_optimizers(timeline: Timeline, control: Control) -> None:
    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if timeline.is_here:
            timeline.begin(Phase.OPTIMIZER)

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if timeline.is_here:
            timeline.end()
            timeline.steps += 1
            if timeline.steps <= _FIRST_STEPS:
                _tell(timeline, optimizer)
            control.stepped()

    zero: Any = Optimizer.zero_grad

    @functools.wraps(zero)
    def zero_grad(self: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.monotonic_ns()
        result = zero(self, *args, **kwargs)
        if timeline.is_here:
            timeline.add(Phase.OPTIMIZER, began, MARK)
        return result

    _replace(Optimizer, "zero_grad", zero_grad)
    handles = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    _undo.extend(handle.remove for handle in handles)


def _tell(timeline: Timeline, optimizer: Any) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    device = parameters[0].device.type if parameters else "cpu"
    timeline.tell(
        threads=torch.get_num_threads(),
        device=device,
        autocast=torch.is_autocast_enabled(device) if device in ("cpu", "cuda") else False,
        optimizer=type(optimizer).__name__,
        parameters=sum(p.numel() for p in parameters),
        torch=torch.__version__,
    )


def _watch_loaders(timeline: Timeline, control: Control) -> None:
    iterate: Any = DataLoader.__iter__
    step: Any = dataloader._BaseDataLoaderIter.__next__

    @functools.wraps(iterate)
    def begin(self: Any) -> Any:
        if not timeline.is_here:
            return iterate(self)
        loaders.note_loader(self)
        return control.iterate(self, waited)

    def waited(loader: Any) -> Any:
        timeline.unwind(Phase.OPTIMIZER)
        timeline.begin(Phase.DATA)
        try:
            return iterate(loader)
        finally:
            timeline.end(MARK)

    @functools.wraps(step)
    def next_batch(self: Any) -> Any:
        if not timeline.is_here:
            return step(self)
        timeline.unwind(Phase.OPTIMIZER)
        timeline.begin(Phase.DATA)
        flags, pictures = 0, 0
        try:
            batch = step(self)
            pictures = loaders.pictures_of(batch) if self._auto_collation else 0
            return batch
        except StopIteration:
            loaders.own().write(now=True)
            flags = LAST
            raise
        finally:
            timeline.end(flags, pictures)

    _replace(DataLoader, "__iter__", begin)
    _replace(dataloader._BaseDataLoaderIter, "__next__", next_batch)
    for kind in (fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher):
        original = kind.fetch
        _undo.append(functools.partial(setattr, kind, "fetch", original))
    loaders.watch_fetching(fetch)


def _watch_tensors(timeline: Timeline) -> None:
    """Copies to another device, and what reads a value from a tensor: a GPU must come to its end for it."""
    for name in ("to", "cuda"):
        _replace(torch.Tensor, name, _moving(timeline, getattr(torch.Tensor, name)))
    for name in ("item", "tolist", "cpu", "numpy", "__float__"):
        _replace(torch.Tensor, name, _reading(timeline, getattr(torch.Tensor, name)))


def _direct(original: Any) -> Callable[..., Any]:
    """A method of tensors as torch's own kinds of them know it: an uninitialised parameter of a lazy module, for one,
    looks up in a table, made before another stood in its place, whether it allows the call."""

    def call(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        kind = type(tensor)
        is_special = kind is not torch.Tensor and kind.__module__.startswith("torch.")
        if is_special and overrides.has_torch_function_unary(tensor):
            return overrides.handle_torch_function(original, (tensor,), tensor, *args, **kwargs)
        return original(tensor, *args, **kwargs)

    return call


def _moving(timeline: Timeline, original: Any) -> Callable[..., Any]:
    direct = _direct(original)

    @functools.wraps(original)
    def move(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        began = time.monotonic_ns()
        result = direct(self, *args, **kwargs)
        if result is not self and timeline.is_here and timeline.is_idle and result.device != self.device:
            timeline.add(Phase.TRANSFER, began)
        return result

    return move


def _reading(timeline: Timeline, original: Any) -> Callable[..., Any]:
    direct = _direct(original)

    @functools.wraps(original)
    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        if not (timeline.is_idle and timeline.is_here):
            return direct(self, *args, **kwargs)
        began = time.monotonic_ns()
        result = direct(self, *args, **kwargs)
        timeline.add(Phase.LOGGING, began, count=1)
        return result

    return read
