"""What loaders do: their settings, and how long fetching and decoding take, in worker processes too.

A process that fetches batches leaves ``framework/loaders/PID.json``, written anew every second or so.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from collections.abc import Mapping
from multiprocessing.util import Finalize
from types import ModuleType
from typing import Any

from vizsla.profiling import timeline as timelines

_WRITE_NS = 500_000_000
_CACHE_BYTES = 2 << 30
_open: Any = None
"""Pillow's own, while another stands in its place."""


class _Fetches:
    """What this process has fetched."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.batches = self.items = self.decodes = self.pixels = 0
        self.fetch_ns = self.fetch_cpu_ns = self.fetch_queue_ns = self.decode_ns = 0
        self._written = 0
        self.worker: int | None = None
        self._schedule = -1

    def queued(self) -> int:
        """How long this thread has waited for a core, ns (proc(5), schedstat): a busy machine is no slow disk."""
        try:
            if self._schedule < 0:
                self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            return int(os.pread(self._schedule, 80, 0).split()[1])
        except (OSError, IndexError, ValueError):
            return 0

    def close(self) -> None:
        """Let go of the file."""
        if self._schedule >= 0:
            os.close(self._schedule)
            self._schedule = -1

    def write(self, *, now: bool = False) -> None:
        moment = time.monotonic_ns()
        timeline = timelines.current
        if (not now and moment - self._written < _WRITE_NS) or timeline is None or not self.batches:
            return
        self._written = moment
        folder = timeline.output / "framework" / "loaders"
        values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        with contextlib.suppress(OSError):
            if (timeline.output.parents[2] / "state.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                half = folder / f".{self.pid}.tmp"
                half.write_text(json.dumps(values))
                half.replace(folder / f"{self.pid}.json")


_own = _Fetches()


def own() -> _Fetches:
    """Of this process; a fork begins anew."""
    global _own
    if _own.pid != os.getpid():
        _own = _Fetches()
    return _own


def begin() -> None:
    """Count anew: another job of this process begins."""
    global _own
    _own.close()
    _own = _Fetches()


def watch_decoding(module: ModuleType) -> None:
    """Time what Pillow decodes."""
    original = module.ImageFile.load

    @functools.wraps(original)
    def load(self: Any) -> Any:
        if not self.tile:  # decoded already
            return original(self)
        began = time.monotonic_ns()
        result = original(self)
        fetches = own()
        fetches.decode_ns += time.monotonic_ns() - began
        fetches.decodes += 1
        fetches.pixels += self.size[0] * self.size[1]
        return result

    if not hasattr(original, "__wrapped__"):
        module.ImageFile.load = load


def cache_pixels(on: bool) -> None:
    """Keep what Pillow decodes of a file, and give copies of it; or no longer."""
    from PIL import Image

    global _open
    if not on:
        if _open is not None:
            Image.open, _open = _open, None
        return
    if _open is not None:
        return
    original = _open = Image.open
    kept: dict[str, Any] = {}
    size = 0

    @functools.wraps(original)
    def cached(fp: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal size
        name = (
            fp if isinstance(fp, str) else os.fspath(fp) if isinstance(fp, os.PathLike) else getattr(fp, "name", None)
        )
        if not isinstance(name, str):
            return original(fp, *args, **kwargs)
        if name not in kept:
            image = original(fp, *args, **kwargs)
            if size > _CACHE_BYTES:
                return image
            image.load()
            kept[name] = image.copy()
            size += image.size[0] * image.size[1] * len(image.getbands())
        return kept[name].copy()

    Image.open = cached


def watch_fetching(fetch_module: ModuleType) -> None:
    """Time what a loader's fetcher does, in its worker or in the loop's own process."""
    for kind in (fetch_module._MapDatasetFetcher, fetch_module._IterableDatasetFetcher):
        _watch_fetcher(kind)


def _watch_fetcher(kind: Any) -> None:
    original = kind.fetch

    @functools.wraps(original)
    def fetch(self: Any, possibly_batched_index: Any) -> Any:
        fetches = own()
        queued, began, computed = fetches.queued(), time.monotonic_ns(), time.thread_time_ns()
        result = original(self, possibly_batched_index)
        fetches.fetch_ns += time.monotonic_ns() - began
        fetches.fetch_cpu_ns += time.thread_time_ns() - computed
        fetches.fetch_queue_ns += fetches.queued() - queued
        fetches.batches += 1
        fetches.items += len(possibly_batched_index) if hasattr(possibly_batched_index, "__len__") else 1
        if fetches.worker is None and fetches.batches == 1:
            from torch.utils.data import get_worker_info

            info = get_worker_info()
            fetches.worker = None if info is None else info.id
            if info is not None:  # at its end, the last batches too
                Finalize(None, functools.partial(fetches.write, now=True), exitpriority=1)
        fetches.write()
        return result

    kind.fetch = fetch


def pictures_of(batch: Any) -> int:
    """How many a collated batch has: the length of the first of its tensors or lists; 0 where that is none."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    first = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if isinstance(first, list | tuple):  # of unequal size
        return len(first)
    shape: Any = getattr(first, "shape", ())
    return shape[0] if len(shape) and type(shape[0]) is int else 0


def facts_of(loader: Any) -> dict[str, Any]:
    """The settings of a DataLoader."""
    dataset = loader.dataset
    with contextlib.suppress(Exception):
        length = len(dataset)
        return _settings(loader) | {"dataset": type(dataset).__name__, "items": length}
    return _settings(loader) | {"dataset": type(dataset).__name__, "items": None}


def _settings(loader: Any) -> dict[str, Any]:
    names = ("num_workers", "batch_size", "pin_memory", "prefetch_factor", "persistent_workers")
    return {name: getattr(loader, name, None) for name in names}


def note_loader(loader: Any) -> None:
    """Keep a loader's settings among the facts of this process; the first dozen of different ones."""
    timeline = timelines.current
    if timeline is None:
        return
    facts, known = {"id": id(loader), **facts_of(loader)}, timeline.facts.setdefault("loaders", [])
    for entry in known:
        if facts.items() <= entry.items():  # a number alone may be that of one that is gone
            entry["epochs"] += 1
            return
    if len(known) < 12:
        timeline.tell(loaders=[*known, {"epochs": 1, **facts}])


def note_training(loader: Any) -> None:
    """Keep that an optimizer stepped after batches of this loader."""
    timeline = timelines.current
    if timeline is None:
        return
    facts = {"id": id(loader), **facts_of(loader)}
    for entry in timeline.facts.get("loaders", []):
        if facts.items() <= entry.items() and "trains" not in entry:
            entry["trains"] = True
            timeline.tell()
