"""The hook that a PyTorch script registers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from vizsla.debugging import current
from vizsla.debugging.calls import observe
from vizsla.debugging.collections import Collection, CollectionKeys
from vizsla.debugging.hook_config import HookConfig, config_path
from vizsla.debugging.loop_hook import LoopHook, harmless
from vizsla.debugging.losses import is_observed, replace_function
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.recorder import Recorder
from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import SaveConfig
from vizsla.debugging.writer import DISK_BYTES
from vizsla.errors import UsageError


class Hook(LoopHook):
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
    out_of_job:
        Record in ``out_dir`` within a job, too.
    watches_losses:
        Whether losses are seen that nobody registers.
    disk_bytes:
        Most that the kept tensors take; older ones are thinned out then.

    Examples
    --------
    >>> hook = Hook("debug", include_collections=["weights"])  # doctest: +SKIP
    >>> hook.register_module(model)  # doctest: +SKIP
    """

    keeps_tensors: ClassVar[bool] = False

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
        *,
        out_of_job: bool = False,
        watches_losses: bool = True,
        **_: Any,
    ) -> None:
        job = None if out_of_job else os.environ.get("VIZSLA_JOB_DIR")
        self.out_dir = str(Path(job, "output", "debug") if job else out_dir or "debug")
        self.export_tensorboard, self.tensorboard_dir, self.dry_run = export_tensorboard, tensorboard_dir, dry_run
        self.include_workers = include_workers
        self.save_config = save_config or SaveConfig()
        rank = int(os.environ.get("RANK", "0") or 0)
        self.worker = f"worker_{rank}"
        self._default = save_config is None and not include_regex and not include_collections and not save_all
        regexes = [include_regex] if isinstance(include_regex, str) else list(include_regex or [])
        included = [*(include_collections or ()), *([CollectionKeys.DEFAULT] if regexes else [])]
        recorder = Recorder(
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
        super().__init__(recorder, off=dry_run or rank > 0, watches_losses=watches_losses)
        self.collection_manager.get(CollectionKeys.DEFAULT).include(regexes)

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

    @harmless
    def set_mode(self, mode: ModeKeys) -> None:
        """What the loop does from now on."""
        if not isinstance(mode, ModeKeys):
            raise UsageError(f"{mode!r:.80} is no mode.", allowed=", ".join(f"modes.{m.name}" for m in ModeKeys))
        self._mode_is_set = True
        self._recorder.mode = mode
        self._recorder.choose()

    @harmless
    def switch_mode(self, mode: ModeKeys) -> None:
        """Record in this mode until the next forward pass, which finds its own."""
        self._recorder.mode = mode
        self._recorder.choose()

    @harmless
    def describe(self, **facts: Any) -> None:
        """Say once what the hook cannot see: ``classes``, ``loss``."""
        self._recorder.facts |= facts

    @property
    def mode(self) -> ModeKeys:
        """What the loop does."""
        return self._recorder.mode

    @property
    def mode_steps(self) -> dict[ModeKeys, int]:
        """The present step of each mode."""
        return self._recorder.mode_steps

    @harmless
    def register_loss(self, loss_module: Any) -> None:
        """Record the outputs of a loss: a module, or a function that is called by its name where it was defined or in
        the main program."""
        if any(known is loss_module for known in self._losses):
            return
        self._losses.append(loss_module)
        if hasattr(loss_module, "forward"):
            observe(loss_module, *self._around_loss(loss_module))
        elif not is_observed(loss_module) and not replace_function(loss_module, self._called_function):
            name = getattr(loss_module, "__name__", "the loss")
            self._say(f"{name} is called by no name: record it by hook.record_tensor_value(name, tensor_value=loss)")

    @harmless
    def record_tensor_value(self, tensor_name: str, tensor_value: Any) -> None:
        """Record the value of a loss that is a function."""
        self._loss(f"{tensor_name}_output_0", tensor_value)

    @harmless
    def save_scalar(self, name: str, value: Any, sm_metric: bool = False, timestamp: float | None = None) -> None:
        """Record a number, at any step; ``sm_metric`` makes it a metric of the job too."""
        if self._recorder.is_foreign:
            return
        self._recorder.scalar(f"scalar/{name}", value, "default", chosen=True, moment=timestamp)
        if sm_metric:
            self._log_metric(name, float(value), max(self.step, 0))

    @harmless
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

    @harmless
    def flush(self) -> None:
        """Wait until all that was recorded is on disk."""
        self._recorder.flush()

    def _log_metric(self, name: str, value: float, step: int) -> None:
        """Make a scalar a metric of the job: a line of the log that is JSON is one."""
        print(json.dumps({"name": name, "value": value, "step": step}), flush=True)
