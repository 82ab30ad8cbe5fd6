"""Rows of one process: which tensors are wanted at this step, and their numbers on the way to the writer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from vizsla.debugging.collections import Collection, CollectionKeys, CollectionManager
from vizsla.debugging.mode_keys import ModeKeys
from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import SaveConfig
from vizsla.debugging.schedule import is_due
from vizsla.debugging.statistics import Together, numbers
from vizsla.debugging.store import STATISTICS, last_steps
from vizsla.debugging.writer import DISK_BYTES, Pending, StoreWriter

_ALWAYS = (CollectionKeys.LOSSES,)


class Recorder:
    """Counts steps, and turns tensors into rows.

    Parameters
    ----------
    watch_config:
        When the rules' statistics are taken; by default as :mod:`vizsla.debugging.schedule` says.
    keeps_tensors:
        Whether a tensor that is asked for without a word about reductions is kept itself, as AWS's hook does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        save_config: SaveConfig | None,
        watch_config: SaveConfig | None,
        reduction_config: ReductionConfig | None,
        include: Iterable[str],
        save_all: bool,
        keeps_tensors: bool,
        worker: str,
        disk_bytes: int = DISK_BYTES,
    ) -> None:
        self.folder, self.worker = folder, worker
        self.collections = CollectionManager()
        self.save_config, self.reduction_config = save_config, reduction_config
        self._watch_config = watch_config
        self.included = {*include, *_ALWAYS} | ({CollectionKeys.ALL} if save_all else set())
        self.save_all, self._keeps_tensors, self._disk_bytes = save_all, keeps_tensors, disk_bytes
        self.mode = ModeKeys.GLOBAL
        self.step = -1
        self.mode_steps = dict.fromkeys(ModeKeys, -1)
        self.is_watched_step = False
        self._owed: dict[str, Collection] = {}
        self._owes_watch = False
        """Whether the rules' statistics are taken at this step."""
        self.facts: dict[str, Any] = {}
        self._active: list[Collection] = []
        self._tensors: dict[str, Any] = {}
        self._rows: list[Pending] = []
        """Of this step, given to the writer together."""
        self._facts_written = ""
        self._writer: StoreWriter | None = None
        self._pid = os.getpid()
        if (folder / STATISTICS).is_dir():  # an attempt goes on with the steps of the one before it
            self.step, modes = last_steps(folder)
            self.mode_steps |= {ModeKeys[name]: step for name, step in modes.items()}

    @property
    def is_foreign(self) -> bool:
        """Whether this is a forked child, whose records would be the parent's twice."""
        return os.getpid() != self._pid

    @property
    def wants_modules(self) -> bool:
        """Whether anything inside the model is looked at in this step."""
        return self.is_watched_step or any(c.name != CollectionKeys.LOSSES for c in self._active)

    @property
    def error(self) -> BaseException | None:
        """Why the writer gave up."""
        return None if self._writer is None else self._writer.error

    def steps_of(self, collection: Collection) -> SaveConfig:
        """When a collection is recorded."""
        return collection.save_config or self.save_config or SaveConfig()

    def begin_step(self) -> None:
        """Count a step of this mode."""
        self._keep()
        self.step += 1
        self.mode_steps[self.mode] += 1
        self.choose()

    def choose(self) -> None:
        """Find out which collections are recorded at this step."""
        at = max(self.mode_steps[self.mode], 0)
        self.is_watched_step = (
            is_due(at) if self._watch_config is None else self._watch_config.should_save_step(self.mode, at)
        )
        chosen = [self.collections.get(name) for name in sorted(self.included)]
        self._active = [c for c in chosen if self.steps_of(c).should_save_step(self.mode, at)]
        if self.mode not in (ModeKeys.EVAL, ModeKeys.PREDICT):
            self._owed |= {c.name: c for c in self._active}
            self._owes_watch |= self.is_watched_step

    @contextmanager
    def update(self) -> Iterator[None]:
        """An optimizer steps: while the block runs, what was due since the last one did is due. Where gradients are
        gathered over several steps, the optimizer's may never be one that is."""
        active, watched = self._active, self.is_watched_step
        self._active = [*({c.name: c for c in active} | self._owed).values()]
        self.is_watched_step |= self._owes_watch
        try:
            yield
        finally:
            self._active, self.is_watched_step = active, watched
            self._owed, self._owes_watch = {}, False

    def chosen(self, name: str, module_type: str | None = None, *, is_input: bool = False) -> list[Collection]:
        """The collections of this step that a tensor belongs to, of those that are asked for."""
        return [c for c in self._active if c.holds(name, module_type, is_input=is_input)]

    def put(
        self,
        name: str,
        tensor: Any,
        collection: str = CollectionKeys.DEFAULT,
        *,
        module_type: str | None = None,
        is_input: bool = False,
        watched: bool = False,
        values: Any = None,
        sampled: Any = None,
    ) -> None:
        """Record a tensor, where it is asked for, or ``watched`` by the rules at this step.

        ``sampled`` is a copy of what the rules look at instead of all of it; ``values`` go into its row.
        """
        chosen = self.chosen(name, module_type, is_input=is_input)
        if not chosen and not watched:
            return
        for group in chosen:
            group.tensor_names.add(name)
        is_copy = not chosen and sampled is not None
        whole = sampled if is_copy else tensor
        configs = [c.reduction_config or self.reduction_config for c in chosen]
        raw = any(c.keeps_tensor if c is not None else self._keeps_tensors for c in configs) and whole.numel() > 1
        prods = any(c is not None and {"prod", "abs_prod"} & {*c.names} for c in configs)
        if raw:
            self._tensors[name] = whole.detach().clone()
        shape = ",".join(map(str, tensor.shape))
        prod = whole.detach().double().prod() if prods else None
        groups = [c.name for c in chosen if c.name not in (CollectionKeys.ALL, CollectionKeys.LOSSES)]
        primary = groups[0] if collection == CollectionKeys.DEFAULT and groups else collection
        self._append(
            name,
            primary,
            whole.numel(),
            partial(numbers, whole) if is_copy else numbers(whole),
            shape,
            bool(chosen),
            raw,
            prod,
            values,
        )

    def put_all(self, tensors: Sequence[tuple[str, Any, str]], *, watched: bool) -> None:
        """Record tensors by name and collection, as :meth:`put` does; those that only the rules look at together."""
        several: dict[tuple[Any, Any], list[tuple[str, Any, str]]] = {}
        for name, tensor, collection in tensors:
            if self.chosen(name):
                self.put(name, tensor, collection, watched=watched)
            elif watched:
                several.setdefault((tensor.device, tensor.dtype), []).append((name, tensor, collection))
        for group in several.values():
            together = Together([tensor for _, tensor, _ in group])
            for at, (name, tensor, collection) in enumerate(group):
                shape = ",".join(map(str, tensor.shape))
                self._append(name, collection, tensor.numel(), (together, at), shape, False, False, None, None)

    def scalar(
        self,
        name: str,
        value: Any,
        collection: str,
        *,
        chosen: bool = False,
        moment: float | None = None,
        values: Any = None,
    ) -> None:
        """Record a number, or a tensor of one element, as it is now."""
        if hasattr(value, "detach"):
            value = value.detach()
            value = value.clone() if value.numel() == 1 else value.float().mean()
            value = numbers(value)
        else:
            value = float(value.mean()) if hasattr(value, "mean") else float(value)
        if chosen:
            self.collections.get(collection).tensor_names.add(name)
        self._append(name, collection, 1, value, "", chosen, False, None, values, moment)

    def row(self, name: str, collection: str, values: Any, n: int, measured: Any = 0.0, shape: str = "") -> None:
        """Record numbers that the rules read."""
        self._append(name, collection, n, measured, shape, False, False, None, values)

    def _append(
        self,
        name: str,
        collection: str,
        n: int,
        measured: Any,
        shape: str,
        chosen: bool,
        raw: bool,
        prod: Any,
        values: Any,
        moment: float | None = None,
    ) -> None:
        at = max(self.mode_steps[self.mode], 0)
        moment = time.time() if moment is None else moment
        place = (max(self.step, 0), self.mode.name, at, name, collection, moment)
        self.open()
        self._rows.append(Pending(*place, n, measured, shape, chosen, raw, prod, values))

    def _keep(self) -> None:
        if self._rows:
            self.open().append(self._rows)
            self._rows = []
        if self._tensors:
            self.open().keep(max(self.step, 0), self._tensors)
            self._tensors = {}

    def open(self) -> StoreWriter:
        """The store, made when first wanted: with the first row, so that a folder that cannot be written is told then.

        Raises
        ------
        OSError
            When the folder cannot be written, or another hook writes there.
        """
        if self._writer is None:
            self._writer = StoreWriter(self.folder, self.worker, self._disk_bytes)
        return self._writer

    def tell(self) -> None:
        """Write what is said once, where it changed."""
        facts = self.facts | {"collections": {c.name: c.to_dict() for c in self.collections}}
        text = repr(facts)
        if text != self._facts_written:
            self._facts_written = text
            self.open().facts(facts)

    def flush(self) -> None:
        """Hand all over and wait until it is on disk."""
        if self._writer is not None and not self.is_foreign:
            self._keep()
            self.tell()
            self._writer.flush()

    def close(self) -> None:
        """Write what waits, and say that nothing more will come."""
        if self._writer is not None and not self.is_foreign:
            self._keep()
            self.tell()
            self._writer.close()
            self._writer = None
