"""The hook that a PyTorch script registers."""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from smdebug.core.collection import Collection, CollectionKeys
from smdebug.core.modes import ModeKeys
from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig
from smdebug.pytorch.calls import observe
from vizsla.debugging.store import Scalar, ScalarWriter
from vizsla.jobs.inside import log_metric

_CONFIG = "/opt/ml/input/config/debughookconfig.json"
_WAITING = 64
_SECONDS = 2.0
_F = TypeVar("_F", bound=Callable[..., Any])
_DEFAULT_COLLECTIONS = ("default", "all", "weights", "biases", "gradients", "losses", "metrics")


def _harmless(method: _F) -> _F:
    """An error within the hook switches the hook off and says so; it never reaches the training loop."""

    @functools.wraps(method)
    def guarded(self: Hook, *args: Any, **kwargs: Any) -> Any:
        if self.off:
            return None
        try:
            return method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, training goes on
            self.off = True
            print(f"[vizsla] the debugger's hook is off: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return None

    return cast(_F, guarded)


class Hook:
    """Records losses and scalars by step and mode into ``output/debug`` of the job.

    A step is one forward pass of the registered module; where only a loss is registered, one call of the loss.
    Values stay tensors until a few dozen have come together, so that the loop does not wait for a GPU.
    """

    def __init__(
        self,
        out_dir: str | os.PathLike[str] | None = None,
        export_tensorboard: bool = False,
        tensorboard_dir: str | None = None,
        dry_run: bool = False,
        reduction_config: ReductionConfig | None = None,
        save_config: SaveConfig | None = None,
        include_regex: Sequence[str] | None = None,
        include_collections: Sequence[str] | None = None,
        save_all: bool = False,
        include_workers: str = "one",
        **_: Any,
    ) -> None:
        job = os.environ.get("VIZSLA_JOB_DIR")
        self.out_dir = str(Path(job, "output", "debug") if job else out_dir or "debug")
        self.export_tensorboard, self.tensorboard_dir, self.dry_run = export_tensorboard, tensorboard_dir, dry_run
        self.reduction_config, self.save_all, self.include_workers = reduction_config, save_all, include_workers
        self.save_config = save_config or SaveConfig()
        self.mode = ModeKeys.GLOBAL
        self.step = -1
        self.mode_steps = dict.fromkeys(ModeKeys, -1)
        self.off = dry_run
        self._default = save_config is None and not include_regex and not include_collections
        self._collections = {name: Collection(name) for name in (*_DEFAULT_COLLECTIONS, *(include_collections or ()))}
        self._module: Any = None
        self._losses: list[Any] = []
        self._waiting: list[tuple[str, Any, int, str, int, str, float]] = []
        self._flushed = time.monotonic()
        self._pid = os.getpid()
        self._writer: ScalarWriter | None = None
        atexit.register(self.close)

    @classmethod
    def create_from_json_file(cls, json_file_path: str | None = None) -> Hook:
        """A hook from the job's configuration.

        Raises
        ------
        FileNotFoundError
            When there is none: the script runs outside a job.
        """
        path = json_file_path or os.environ.get("SMDEBUG_CONFIG_FILE_PATH") or _CONFIG
        with open(path) as file:
            config = json.load(file)
        parameters = config.get("HookParameters") or {}
        collections = config.get("CollectionConfigurations") or []
        hook = cls(
            out_dir=config.get("LocalPath"),
            save_config=SaveConfig.from_parameters(parameters),
            save_all=str(parameters.get("save_all", "")).lower() == "true",
            include_collections=[c["CollectionName"] for c in collections if c.get("CollectionName")],
        )
        hook._default = not parameters and not collections
        return hook

    hook_from_config = create_from_json_file

    @_harmless
    def set_mode(self, mode: ModeKeys) -> None:
        """What the loop does from now on."""
        if not isinstance(mode, ModeKeys):
            raise ValueError(f"mode must be one of {[m.name for m in ModeKeys]}, not {mode!r}")
        self.mode = mode
        self._flush()

    @_harmless
    def register_module(self, module: Any) -> None:
        """Count the module's forward passes as steps."""
        self._module = module
        observe(module, before=self._next_step)

    register_hook = register_module

    @_harmless
    def register_loss(self, loss_module: Any) -> None:
        """Record the outputs of a loss module."""
        if any(known is loss_module for known in self._losses):
            return
        self._losses.append(loss_module)
        name = f"{type(loss_module).__name__}_output_0"
        observe(loss_module, after=lambda output: self._loss(name, output))

    @_harmless
    def record_tensor_value(self, tensor_name: str, tensor_value: Any) -> None:
        """Record the value of a loss that is a function."""
        self._loss(f"{tensor_name}_output_0", tensor_value)

    @_harmless
    def save_scalar(self, name: str, value: Any, sm_metric: bool = False, timestamp: float | None = None) -> None:
        """Record a number; ``sm_metric`` makes it a metric of the job too."""
        self._put(f"scalar/{name}", value, "default", timestamp)
        if sm_metric:
            log_metric(name, float(value), step=max(self.step, 0))

    @_harmless
    def save_tensor(self, tensor_name: str, tensor_value: Any, collections_to_write: str = "default") -> None:
        """Record the mean of a tensor."""
        collection = collections_to_write if isinstance(collections_to_write, str) else "default"
        self._put(tensor_name, tensor_value, collection)

    def get_collection(self, name: str) -> Collection:
        """The collection of this name; made when there is none."""
        return self._collections.setdefault(name, Collection(name))

    def get_collections(self) -> dict[str, Collection]:
        """All collections by name."""
        return dict(self._collections)

    def add_collection(self, collection: Collection) -> None:
        """Add a collection."""
        self._collections[collection.name] = collection

    def has_default_hook_configuration(self) -> bool:
        """Whether nobody configured the hook."""
        return self._default

    def has_default_profiler_configuration(self) -> bool:
        """Whether nobody configured the profiler."""
        return True

    def should_save_step(self) -> bool:
        """Whether this step is recorded."""
        return self.save_config.should_save(self.mode, max(self.mode_steps[self.mode], 0))

    @_harmless
    def close(self) -> None:
        """Write what waits."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    cleanup = close

    def _next_step(self) -> None:
        self.step += 1
        self.mode_steps[self.mode] += 1

    @_harmless
    def _loss(self, name: str, value: Any) -> None:
        if self._module is None:
            self._next_step()
        self._put(name, value, CollectionKeys.LOSSES)

    def _put(self, name: str, value: Any, collection: str, timestamp: float | None = None) -> None:
        if not self.should_save_step() or os.getpid() != self._pid:
            return
        value = _as_now(value)
        moment = time.time() if timestamp is None else timestamp
        steps = (max(self.step, 0), self.mode.name, max(self.mode_steps[self.mode], 0))
        self._waiting.append((name, value, *steps, collection, moment))
        if len(self._waiting) >= _WAITING or time.monotonic() - self._flushed > _SECONDS:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting, self._flushed = self._waiting, [], time.monotonic()
        if not waiting or os.getpid() != self._pid:
            return
        if self._writer is None:
            self._writer = ScalarWriter(Path(self.out_dir))
        self._writer.append(
            [
                Scalar(name, float(value), step, mode, mode_step, collection, moment)
                for name, value, step, mode, mode_step, collection, moment in waiting
            ]
        )


def _as_now(value: Any) -> Any:
    """A value that nobody changes in place before it is written, of one element; a tensor's stays on its device."""
    if hasattr(value, "detach"):
        value = value.detach()
        return value.clone() if value.numel() == 1 else value.float().mean()
    return float(value.mean()) if hasattr(value, "mean") else float(value)
