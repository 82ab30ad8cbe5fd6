"""The hook that a PyTorch script registers."""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, cast

from vizsla.debugging import current
from vizsla.debugging.calls import After, Before, observe
from vizsla.debugging.collections import Collection, CollectionKeys, CollectionManager
from vizsla.debugging.hook_config import HookConfig, config_path
from vizsla.debugging.losses import observe_losses, record_batch
from vizsla.debugging.modes import ModeKeys
from vizsla.debugging.recorder import Recorder
from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import SaveConfig
from vizsla.debugging.watch import Watch
from vizsla.debugging.writer import DISK_BYTES
from vizsla.errors import UsageError

_F = TypeVar("_F", bound=Callable[..., Any])
CONTROL = "control.json"
"""In the store's folder: what a rule's action asks of the training."""


def _harmless(method: _F) -> _F:
    """An error within the hook switches the hook off and says so; it never reaches the training loop."""

    @functools.wraps(method)
    def guarded(self: Hook, *args: Any, **kwargs: Any) -> Any:
        if self.off:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
            self.switch_off(error)
            return None

    return cast(_F, guarded)


class Hook:
    """Records what happens in a training loop into ``output/debug`` of the job, or ``out_dir`` outside one.

    A step is one forward pass of the registered module; where only a loss is registered, one call of the loss. Losses
    are recorded at every step, statistics of weights, gradients and activations at the steps of ``save_config``, and
    the tensors that a collection or a ``reduction_config`` asks for. A thread writes them.

    Parameters
    ----------
    save_config:
        By default every one of the first steps, then every tenth, and more rarely in a long job.
    reduction_config:
        With ``save_raw_tensor=True`` the tensors of ``include_collections`` are kept beside their statistics.
    include_regex, include_collections:
        Names, and groups of them, that are recorded. An unknown group is made; fill it by
        :meth:`get_collection`.
    save_all:
        Record every tensor, inputs and outputs of all modules among them.
    include_workers:
        Of a distributed training the first process records, whatever is said here.
    disk_bytes:
        Most that the kept tensors take; older ones are thinned out then.

    Examples
    --------
    >>> hook = Hook("debug", include_collections=["weights"])  # doctest: +SKIP
    >>> hook.register_module(model)  # doctest: +SKIP
    """

    keeps_tensors: ClassVar[bool] = False
    detects_mode: ClassVar[bool] = True
    """Whether a script that sets no mode is in ``EVAL`` where no gradients are computed."""

    def __init__(
        self,
        out_dir: str | os.PathLike[str] | None = None,
        export_tensorboard: bool = False,
        tensorboard_dir: str | None = None,
        dry_run: bool = False,
        reduction_config: ReductionConfig | None = None,
        save_config: SaveConfig | None = None,
        include_regex: Sequence[str] | str | None = None,
        include_collections: Sequence[str] | None = None,
        save_all: bool = False,
        include_workers: str = "one",
        disk_bytes: int = DISK_BYTES,
        **_: Any,
    ) -> None:
        job = os.environ.get("VIZSLA_JOB_DIR")
        self.out_dir = str(Path(job, "output", "debug") if job else out_dir or "debug")
        self.export_tensorboard, self.tensorboard_dir, self.dry_run = export_tensorboard, tensorboard_dir, dry_run
        self.include_workers = include_workers
        self.save_config = save_config or SaveConfig()
        rank = int(os.environ.get("RANK", "0") or 0)
        self.worker = f"worker_{rank}"
        self.off = dry_run or rank > 0
        self._default = save_config is None and not include_regex and not include_collections and not save_all
        regexes = [include_regex] if isinstance(include_regex, str) else list(include_regex or [])
        included = [*(include_collections or ()), *([CollectionKeys.DEFAULT] if regexes else [])]
        self._recorder = Recorder(
            Path(self.out_dir),
            save_config=save_config,
            watch_config=None if self.keeps_tensors else save_config,
            reduction_config=reduction_config,
            include=included,
            save_all=save_all,
            keeps_tensors=self.keeps_tensors,
            worker=self.worker,
            disk_bytes=disk_bytes,
        )
        self.collection_manager.get(CollectionKeys.DEFAULT).include(regexes)
        self._mode_is_set = False
        self._eval_trains = False
        self._watch: Watch | None = None
        self._losses: list[Any] = []
        self._inside_loss = False
        self._recorded_loss = False
        self._told_unmatched = False
        self._handles: list[Any] = []
        self.lr_factor = 1.0
        _LIVE.add(self)
        atexit.register(_close, weakref.ref(self))

    @classmethod
    def create_from_json_file(cls, json_file_path: str | os.PathLike[str] | None = None) -> Self:
        """A hook from a configuration, the job's own by default; it becomes the process's hook.

        Raises
        ------
        FileNotFoundError
            When there is none: the script runs outside a job.
        UsageError
            When it cannot be meant.
        """
        config = HookConfig.read(config_path(json_file_path))
        hook = cls(
            out_dir=config.folder,
            save_config=config.save_config,
            reduction_config=config.reduction_config,
            include_regex=config.include_regex,
            include_collections=[collection.name for collection in config.collections],
            save_all=config.save_all,
            include_workers=config.include_workers,
        )
        for collection in config.collections:
            hook._merge(collection)
        hook._default = config.is_default
        current.hook = hook
        return hook

    hook_from_config = create_from_json_file

    def _merge(self, collection: Collection) -> None:
        """A document's words on a collection, beside what is built in."""
        own = self.get_collection(collection.name)
        if collection.include_regex:
            own.include(collection.include_regex)
        own.save_config = collection.save_config or own.save_config
        own.reduction_config = collection.reduction_config or own.reduction_config

    # What scripts call.

    @_harmless
    def set_mode(self, mode: ModeKeys) -> None:
        """What the loop does from now on."""
        if not isinstance(mode, ModeKeys):
            raise UsageError(f"{mode!r:.80} is no mode.", allowed=", ".join(f"modes.{m.name}" for m in ModeKeys))
        self._mode_is_set = True
        self._recorder.mode = mode
        self._recorder.choose()

    @property
    def mode(self) -> ModeKeys:
        """What the loop does."""
        return self._recorder.mode

    @property
    def step(self) -> int:
        """The present step over all modes; -1 before the first."""
        return self._recorder.step

    @property
    def mode_steps(self) -> dict[ModeKeys, int]:
        """The present step of each mode."""
        return self._recorder.mode_steps

    @_harmless
    def register_module(self, module: Any) -> None:
        """Watch a model: its forward passes are the steps."""
        if self._watch is not None:
            if self._watch.module is not getattr(module, "_orig_mod", module):
                self._say(f"a second model, {type(module).__name__}, is not watched: {self._watch.root} is")
            return
        self._watch = watch = Watch(self._recorder, module)
        if watch.is_compiled:
            self._say("the model is compiled: its weights and gradients are recorded, what is inside it is not")
        observe(module, self._before_forward, lambda args, output: watch.end())
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        self._handles += [
            register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: self._before_update(optimizer)),
            register_optimizer_step_post_hook(lambda optimizer, args, kwargs: self._after_update(optimizer)),
        ]
        observe_losses(_around, _called)

    register_hook = register_module

    @_harmless
    def register_loss(self, loss_module: Any) -> None:
        """Record the outputs of a loss module."""
        if any(known is loss_module for known in self._losses):
            return
        self._losses.append(loss_module)
        if not hasattr(loss_module, "forward"):
            raise UsageError(
                f"The loss {loss_module!r:.80} is a function, which nobody can watch.",
                do="record its value by hook.record_tensor_value(name, tensor_value=loss)",
            )
        observe(loss_module, *self._around_loss(loss_module))

    @_harmless
    def record_tensor_value(self, tensor_name: str, tensor_value: Any) -> None:
        """Record the value of a loss that is a function."""
        self._loss(f"{tensor_name}_output_0", tensor_value)

    @_harmless
    def save_scalar(self, name: str, value: Any, sm_metric: bool = False, timestamp: float | None = None) -> None:
        """Record a number, at any step; ``sm_metric`` makes it a metric of the job too."""
        if self._recorder.is_foreign:
            return
        self._recorder.scalar(f"scalar/{name}", value, "default", chosen=True, moment=timestamp)
        if sm_metric:
            self._log_metric(name, float(value), max(self.step, 0))

    @_harmless
    def save_tensor(
        self, tensor_name: str, tensor_value: Any, collections_to_write: str | Sequence[str] = "default"
    ) -> None:
        """Record a tensor or an array, in these collections."""
        import torch

        names = [collections_to_write] if isinstance(collections_to_write, str) else list(collections_to_write)
        recorder = self._recorder
        for name in names:
            self.get_collection(name).add(tensor_name)
            recorder.included.add(name)
        recorder.choose()
        if not recorder.is_foreign:
            recorder.put(tensor_name, torch.as_tensor(tensor_value), names[0])

    def get_collection(self, name: str, create: bool = True) -> Collection:
        """The collection of this name; made when there is none."""
        return self.collection_manager.get(name, create)

    def get_collections(self) -> dict[str, Collection]:
        """All collections by name."""
        return self.collection_manager.get_collections()

    def add_collection(self, collection: Collection) -> None:
        """Add a collection."""
        self.collection_manager.add(collection)

    @property
    def collection_manager(self) -> CollectionManager:
        """The collections."""
        return self._recorder.collections

    @property
    def save_all(self) -> bool:
        """Whether every tensor is recorded."""
        return self._recorder.save_all

    @property
    def reduction_config(self) -> ReductionConfig | None:
        """What is kept of tensors whose collection says nothing."""
        return self._recorder.reduction_config

    @property
    def include_collections(self) -> set[str]:
        """The names of the collections that are recorded."""
        return self._recorder.included

    def has_default_hook_configuration(self) -> bool:
        """Whether nobody configured the hook."""
        return self._default

    def has_default_profiler_configuration(self) -> bool:
        """Whether nobody configured the profiler."""
        return True

    def should_save_step(self) -> bool:
        """Whether this step is recorded."""
        return self.save_config.should_save_step(self.mode, max(self.mode_steps[self.mode], 0))

    def should_save_tensor_or_collection(self, tensor_name: str, collection_name: str) -> bool:
        """Whether a tensor, or anything of a collection, is recorded at this step."""
        chosen = self._recorder.chosen(tensor_name)
        return bool(chosen) or collection_name in {c.name for c in self._recorder._active}

    def record_trace_events(self, *_: Any, **__: Any) -> None:
        """Nothing: times are the profiler's."""

    def export_collections(self) -> None:
        """Write the collections down now."""
        self.flush()

    @_harmless
    def flush(self) -> None:
        """Wait until all that was recorded is on disk."""
        self._recorder.flush()

    @_harmless
    def close(self) -> None:
        """Write what waits; nothing more is recorded."""
        self._tell_unmatched()
        if self._watch is not None:
            self._watch.end()
        self._recorder.close()
        self._unhook()

    cleanup = close
    _cleanup = close

    # What the loop's parts call.

    @_harmless
    def _before_forward(self, args: tuple[Any, ...]) -> None:
        watch, recorder = self._watch, self._recorder
        if watch is None or recorder.is_foreign:
            return
        if recorder.error is not None:
            raise recorder.error
        if recorder.mode is ModeKeys.EVAL and watch.trained:
            self._eval_trains = True
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

    @_harmless
    def _before_update(self, optimizer: Any) -> None:
        if self._watch is not None and not self._recorder.is_foreign:
            self._watch.before_update(optimizer)
            for group in optimizer.param_groups if self.lr_factor != 1 else ():
                group["lr"] = group["lr"] * self.lr_factor

    @_harmless
    def _after_update(self, optimizer: Any) -> None:
        if self._watch is not None and not self._recorder.is_foreign:
            for group in optimizer.param_groups if self.lr_factor != 1 else ():
                group["lr"] = group["lr"] / self.lr_factor  # a schedule goes on from its own value
            self._watch.after_update()

    @property
    def _takes_losses(self) -> bool:
        """Whether a loss that nobody registered is this hook's: it has a model, and no loss of its own."""
        return not self.off and self._watch is not None and not self._losses and not self._inside_loss

    def _around_loss(self, loss: Any) -> tuple[Before, After]:
        kind = type(loss).__name__

        def before(args: tuple[Any, ...]) -> None:
            self._inside_loss = True

        def after(args: tuple[Any, ...], output: Any) -> None:
            self._inside_loss = False
            self._called_loss(kind, kind, args, output, getattr(loss, "reduction", None))

        return before, after

    @_harmless
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
        if recorder.is_foreign:
            return
        if self._watch is None and counts:
            recorder.begin_step()
        chosen = recorder.chosen(name)
        losses = self.get_collection(CollectionKeys.LOSSES)
        at = max(recorder.mode_steps[recorder.mode], 0)
        due = recorder.steps_of(losses).should_save_step(recorder.mode, at)
        recorder.scalar(name, value, CollectionKeys.LOSSES, chosen=bool(chosen) or due)
        watch = self._watch
        if watch is not None and recorder.is_watched_step and getattr(value, "requires_grad", False):
            value.register_hook(lambda gradient: self._backward_begins())

    @_harmless
    def _backward_begins(self) -> None:
        if self._watch is not None:
            self._watch.backward_begins()

    def _read_control(self) -> None:
        try:
            asked = json.loads((Path(self.out_dir) / CONTROL).read_bytes())
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
        for name in sorted(self._recorder.included):
            collection = self.get_collection(name)
            if collection.include_regex and name != CollectionKeys.LOSSES and not collection.tensor_names:
                known = ", ".join(list(self._recorder.facts["parameters"])[:4])
                regexes = ", ".join(map(repr, collection.include_regex))
                self._say(f"the collection {name!r} ({regexes}) matches no tensor; there are such as {known}")

    def _log_metric(self, name: str, value: float, step: int) -> None:
        """Make a scalar a metric of the job: a line of the log that is JSON is one."""
        print(json.dumps({"name": name, "value": value, "step": step}), flush=True)

    def _say(self, text: str) -> None:
        print(f"[vizsla] the debugger: {text}", file=sys.stderr, flush=True)

    def switch_off(self, error: BaseException) -> None:
        """Record nothing more, and say why."""
        self.off = True
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, BlockingIOError):
            why = f"another hook records in {self.out_dir} already"
        print(f"[vizsla] the debugger's hook is off: {why}", file=sys.stderr, flush=True)
        if self._watch is not None:
            self._watch.end()
        self._unhook()

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        _LIVE.discard(self)


_LIVE: weakref.WeakSet[Hook] = weakref.WeakSet()


def _close(hook: weakref.ref[Hook]) -> None:
    if (live := hook()) is not None:
        live.close()


def _around(module: Any) -> tuple[Before, After] | None:
    """What is called around a loss that nobody registered."""
    hook = next((hook for hook in _LIVE if hook._takes_losses), None)
    return None if hook is None else hook._around_loss(module)


def _called(name: str, args: tuple[Any, ...], output: Any, reduction: str) -> None:
    """A function of ``torch.nn.functional`` was called."""
    for hook in list(_LIVE):
        if hook._takes_losses:
            hook._called_loss(name if name.endswith("_loss") else f"{name}_loss", name, args, output, reduction)
