"""How a script's process is watched from its first line on, unmodified: Python imports this before the script.

The standard library alone; torch is patched when the script has imported it (:mod:`vizsla.profiling.hooks`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from vizsla.profiling import timeline as timelines
from vizsla.profiling.layout import CLOCK, output_of
from vizsla.profiling.timeline import Phase, Timeline


def begin() -> None:
    """Watch this process, if it belongs to a job that is profiled."""
    job, clock = os.environ.get("VIZSLA_JOB_DIR"), os.environ.get(CLOCK)
    if job and clock and timelines.current is None:
        timelines.current = timeline = Timeline(output_of(Path(job)), int(clock))
        sys.meta_path.insert(0, _AfterImport(timeline))


@contextlib.contextmanager
def preparing(stage: str) -> Iterator[None]:
    """What this process does in the block before it becomes a job's command."""
    begin()
    timelines.announce(stage)
    try:
        yield
    finally:
        if timelines.current is not None:
            timelines.current.stage(None)


def begin_within(job: Path, clock: int) -> None:
    """Watch a job that runs within this process, which may run others after it."""
    if timelines.current is not None:
        return
    timelines.current = timeline = Timeline(output_of(job), clock)
    sys.meta_path.insert(0, _AfterImport(timeline))
    for name, action in _ACTIONS.items():
        if name in sys.modules and action is not _nothing:
            action(sys.modules[name])


def end_within() -> None:
    """Watch no longer: all is as it was before."""
    timeline, timelines.current = timelines.current, None
    if timeline is None:
        return
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _AfterImport)]
    if "vizsla.profiling.hooks" in sys.modules:
        sys.modules["vizsla.profiling.hooks"].uninstall()
    timeline.close()


def _torch(module: ModuleType) -> None:
    from vizsla.profiling import hooks

    hooks.install(_timeline())


def _dynamo(module: ModuleType) -> None:
    from vizsla.profiling import hooks

    hooks.watch_compiling(_timeline(), module)


def _pillow(module: ModuleType) -> None:
    from vizsla.profiling import loaders

    loaders.watch_decoding(module)


def _safetensors(module: ModuleType) -> None:
    from vizsla.profiling import hooks

    hooks.watch_functions(_timeline(), module, {"save_file": Phase.CHECKPOINT, "load_file": Phase.WEIGHTS})


def _tensorboard(module: ModuleType) -> None:
    from vizsla.profiling import hooks

    writer = module.SummaryWriter
    hooks.watch_functions(_timeline(), writer, {n: Phase.LOGGING for n in dir(writer) if n.startswith("add_")})


def _nothing(module: ModuleType) -> None: ...


_ACTIONS: dict[str, Callable[[ModuleType], None]] = {
    "torch": _torch,
    "torch._dynamo.callback": _dynamo,
    "PIL.ImageFile": _pillow,
    "safetensors.torch": _safetensors,
    "torch.utils.tensorboard.writer": _tensorboard,
    **dict.fromkeys(
        ("torchvision", "timm", "transformers", "numpy", "pandas", "lightning", "mlflow", "fastai"), _nothing
    ),
}
"""What is done when a module has been imported; the time of all these imports is known."""


def _timeline() -> Timeline:
    assert timelines.current is not None
    return timelines.current


class _AfterImport(importlib.abc.MetaPathFinder):
    """Times the import of chosen modules, and acts after it."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline, self._busy = timeline, set[str]()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`: what the other finders say, with another way to run it."""
        if name not in _ACTIONS or name in self._busy:
            return None
        self._busy.add(name)  # once in a process: not for a second import after a failure
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run, timeline = spec.loader.exec_module, self._timeline

        def run_and_act(module: ModuleType) -> None:
            is_here = timeline.is_here
            if is_here:
                timeline.begin(Phase.IMPORTS)
            try:
                run(module)
            finally:
                if is_here:
                    timeline.end()
            try:
                _ACTIONS[name](module)
            except Exception as error:  # noqa: BLE001 - an observer breaks nothing
                print(f"[vizsla] the profiler does not watch {name}: {error}", file=sys.stderr, flush=True)

        spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
