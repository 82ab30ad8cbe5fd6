"""The half of a hook that the loop's own parts call."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import sys
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

from vizsla.debugging import current
from vizsla.debugging.calls import After, Before, forget, observe
from vizsla.debugging.collections import CollectionKeys, CollectionManager
from vizsla.debugging.losses import observe_losses, record_batch
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.recorder import Recorder
from vizsla.debugging.watch import Watch

_F = TypeVar("_F", bound=Callable[..., Any])
CONTROL = "control.json"
"""In the store's folder: what a rule's action asks of the training."""


def harmless(method: _F) -> _F:
    """An error within the hook switches the hook off and says so; it never reaches the training loop."""

    @functools.wraps(method)
    def guarded(self: LoopHook, *args: Any, **kwargs: Any) -> Any:
        if self.off or self.is_closed:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
            self.switch_off(error)
            return None

    return cast(_F, guarded)


class LoopHook:
    """What the parts of a loop call: forward passes, losses, backward passes, optimizers."""

    detects_mode: ClassVar[bool] = True
    """Whether a script that sets no mode is in ``EVAL`` where no gradients are computed."""

    def __init__(self, recorder: Recorder, *, off: bool, watches_losses: bool = True) -> None:
        self._recorder, self.off, self._watches_losses = recorder, off, watches_losses
        self.is_closed = False
        self._mode_is_set = False
        self._eval_trains = False
        self._watch: Watch | None = None
        self._losses: list[Any] = []
        self._inside_loss = False
        self._told_unmatched = False
        self._has_loss = False
        self._handles: list[Any] = []
        self.lr_factor = 1.0
        current.live.add(self)
        atexit.register(_close, weakref.ref(self))

    @property
    def collection_manager(self) -> CollectionManager:
        """The collections."""
        return self._recorder.collections

    @property
    def step(self) -> int:
        """The present step over all modes; -1 before the first."""
        return self._recorder.step

    @harmless
    def close(self) -> None:
        """Write what waits; nothing more is recorded."""
        self._tell_unmatched()
        if self._watch is not None:
            self._watch.end()
        self._recorder.close()
        self._unhook()
        self.is_closed = True

    cleanup = close
    _cleanup = close

    @harmless
    def register_module(self, module: Any) -> None:
        """Watch a model: its forward passes are the steps."""
        if self._watch is not None:
            if self._watch.module is not getattr(module, "_orig_mod", module):
                self._say(f"a second model, {type(module).__name__}, is not watched: {self._watch.root} is")
            return
        self._watch = watch = Watch(self._recorder, module, self.switch_off)
        if watch.is_compiled:
            self._say("the model is compiled: its weights and gradients are recorded, what is inside it is not")
        observe(module, self._before_forward, lambda args, output: watch.end())
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        self._handles += [
            register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: self._before_update(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, args, kwargs: self._after_update(optimizer)),
        ]
        if self._watches_losses:
            observe_losses(_around, _called)

    register_hook = register_module

    @harmless
    def _before_forward(self, args: tuple[Any, ...]) -> None:
        watch, recorder = self._watch, self._recorder
        if watch is None or recorder.is_foreign:
            return
        if recorder.error is not None:
            raise recorder.error
        if recorder.mode is ModeKeys.EVAL and watch.trained:
            self._eval_trains = True
        self._inside_loss = False  # a loss that raised has left it
        self._find_mode(watch)
        recorder.begin_step()
        if recorder.is_watched_step or recorder.step == 1:
            self._read_control()
            recorder.tell()
        if recorder.step == 1:
            self._tell_unmatched()
        watch.begin(args)

    def _find_mode(self, watch: Watch) -> None:
        """What a script that says nothing does: it trains where gradients are computed, also in evaluation mode if
        optimizers stepped there before."""
        if self._mode_is_set or not self.detects_mode:
            return
        import torch

        trains = torch.is_grad_enabled() and (watch.module.training or self._eval_trains)
        self._recorder.mode = ModeKeys.TRAIN if trains else ModeKeys.EVAL

    @harmless
    def _before_update(self, optimizer: Any) -> None:
        if self._watch is not None and not self._recorder.is_foreign:
            self._watch.before_update(optimizer)
            for group in optimizer.param_groups if self.lr_factor != 1 else ():
                group["lr"] = group["lr"] * self.lr_factor

    @harmless
    def _after_update(self, optimizer: Any) -> None:
        if self._watch is not None and not self._recorder.is_foreign:
            for group in optimizer.param_groups if self.lr_factor != 1 else ():
                group["lr"] = group["lr"] / self.lr_factor  # a schedule goes on from its own value
            self._watch.after_update()

    @property
    def _takes_losses(self) -> bool:
        """Whether a loss that nobody registered is this hook's: it has a model, and no loss of its own."""
        return (
            self._watches_losses
            and not (self.off or self.is_closed)
            and self._watch is not None
            and not self._losses
            and not self._inside_loss
        )

    def _is_of_model(self, module: Any) -> bool:
        return self._watch is not None and self._watch.holds(module)

    def _called_function(self, name: str, args: tuple[Any, ...], output: Any) -> None:
        self._called_loss(name, name, args, output, None)

    def _takes_function(self, function: Any) -> bool:
        """Whether a call of a function of torch is a loss of this hook's."""
        registered = any(known is function for known in self._losses)
        return (registered and not (self.off or self.is_closed or self._inside_loss)) or self._takes_losses

    def _around_loss(self, loss: Any) -> tuple[Before, After]:
        kind = type(loss).__name__

        def before(args: tuple[Any, ...]) -> None:
            self._inside_loss = True

        def after(args: tuple[Any, ...], output: Any) -> None:
            self._inside_loss = False
            if hasattr(loss, "reduction") or getattr(output, "ndim", None) == 0:  # others by their name alone
                self._called_loss(kind, kind, args, output, getattr(loss, "reduction", None))

        return before, after

    @harmless
    def _called_loss(self, name: str, kind: str, args: tuple[Any, ...], output: Any, reduction: str | None) -> None:
        if self._recorder.is_foreign:
            return
        if self._watch is None:
            self._recorder.begin_step()
        if reduction is not None:
            self._recorder.facts["loss"] = {"name": kind, "reduction": reduction}
        self._loss(f"{name}_output_0", output, counts=False)
        for i, tensor in enumerate(a for a in args if hasattr(a, "detach")):
            self._recorder.put(f"{name}_input_{i}", tensor, module_type=kind, is_input=True)
        record_batch(self._recorder, kind, args, output)

    def _loss(self, name: str, value: Any, *, counts: bool = True) -> None:
        recorder = self._recorder
        self._has_loss = True
        if recorder.is_foreign:
            return
        if self._watch is None and counts:
            recorder.begin_step()
        chosen = recorder.chosen(name)
        losses = self.collection_manager.get(CollectionKeys.LOSSES)
        at = max(recorder.mode_steps[recorder.mode], 0)
        due = recorder.steps_of(losses).should_save_step(recorder.mode, at)
        recorder.scalar(name, value, CollectionKeys.LOSSES, chosen=bool(chosen) or due)
        watch = self._watch
        if watch is not None and recorder.is_watched_step and getattr(value, "requires_grad", False):
            value.register_hook(self._backward_begins)

    @harmless
    def _backward_begins(self, gradient: Any) -> None:
        if self._watch is not None:
            self._watch.backward_begins(gradient)

    def _read_control(self) -> None:
        try:
            asked = json.loads((self._recorder.folder / CONTROL).read_bytes())
        except (OSError, ValueError):
            return
        factor = float(asked.get("lr_factor", 1.0))
        if factor != self.lr_factor:
            self._say(f"the learning rate is multiplied by {factor:g} from step {self.step} on: {asked.get('reason')}")
            self.lr_factor = factor

    def _tell_unmatched(self) -> None:
        if self._told_unmatched or self._watch is None:
            return
        self._told_unmatched = True
        if self._watches_losses and self._watch.has_trained and not self._has_loss:
            self._say("no loss was seen, which most rules need: hook.register_loss(LOSS), a module or a function")
        for name in sorted(self._recorder.included):
            collection = self.collection_manager.get(name)
            if collection.include_regex and name != CollectionKeys.LOSSES and not collection.tensor_names:
                known = ", ".join(list(self._recorder.facts["parameters"])[:4])
                regexes = ", ".join(map(repr, collection.include_regex))
                self._say(f"the collection {name!r} ({regexes}) matches no tensor; there are such as {known}")

    def _say(self, text: str) -> None:
        print(f"[vizsla] the debugger: {text}", file=sys.stderr, flush=True)

    def switch_off(self, error: BaseException) -> None:
        """Record nothing more, and say why."""
        self.off = True
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, BlockingIOError):
            why = f"another hook records in {self._recorder.folder} already"
        print(f"[vizsla] the debugger's hook is off: {why}", file=sys.stderr, flush=True)
        if self._watch is not None:
            self._watch.end()
        self._unhook()
        with contextlib.suppress(Exception):
            self._recorder.close()

    def _unhook(self) -> None:
        if self._watch is not None:
            forget(self._watch.outer)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        current.live.discard(self)


def _close(hook: weakref.ref[LoopHook]) -> None:
    if (live := hook()) is not None:
        live.close()


def _around(module: Any) -> tuple[Before, After] | None:
    """What is called around a loss that nobody registered."""
    hook = next((hook for hook in current.live if hook._takes_losses and not hook._is_of_model(module)), None)
    return None if hook is None else hook._around_loss(module)


def _called(function: Any, name: str, args: tuple[Any, ...], output: Any, reduction: str) -> None:
    """A function of ``torch.nn.functional`` was called."""
    for hook in list(current.live):
        if hook._takes_function(function):
            hook._called_loss(name if name.endswith("_loss") else f"{name}_loss", name, args, output, reduction)
