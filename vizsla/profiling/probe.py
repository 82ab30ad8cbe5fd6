"""Trying changes within a training loop: short blocks of steps with and without each, in turns. Imports torch.

The loop draws from its loader as always. What it gets comes from the loader that it made and, block by block, from one
with other settings over the next batches of the same epoch; so it sees each picture once and nothing is thrown away.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vizsla.profiling import loaders
from vizsla.profiling.change import LOADER, Change
from vizsla.profiling.loop_settings import LoopSettings, rebuilt
from vizsla.profiling.timeline import Timeline

ENVIRONMENT = "VIZSLA_PROFILER_PROBE"
"""A JSON object: ``changes`` (texts), ``out`` (a file), ``seconds``; set where the process ends after the trial."""
RESULT = "advice.json"
_ORDER = (0, 1, 1, 0, 0, 1, 1, 0)
"""Blocks without (0) and with (1) the change, in pairs of neighbours: what drifts meets both alike."""
_BLOCK_SECONDS, _LEAST_BLOCK, _MOST_BLOCK = 1.5, 6, 40
_WARM_UP = 3
_UNMEASURED = 9
"""Batches of a block with two workers that are not measured: before it is warm, and those that are fetched ahead."""
_STUDENT = {3: 4.303, 4: 3.182}
"""By the number of pairs: the quantile 0.975 of Student's t with one degree of freedom less."""
_MOST_EPOCHS = 20
_NOTHING = 1.02
"""A gain below this, or one whose interval holds 1, is none."""


@dataclass
class Block:
    """Seconds of each measured step, and the pictures of it."""

    seconds: list[float] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    memory: int = 0


@dataclass(frozen=True)
class Trial:
    """What a change gained: images per second without and with it, and an interval (95 %) of the ratio."""

    change: str
    before: float
    after: float
    gain: float
    low: float
    high: float
    memory_mib: int
    """More, or less, than without."""
    steps: int
    why: str = ""
    """Why it could not be tried."""

    @property
    def gains(self) -> bool:
        """Whether it is worth it."""
        return not self.why and self.low > 1 and self.gain >= _NOTHING

    def to_dict(self) -> dict[str, Any]:
        """For ``advice.json``."""
        return {**vars(self), "gains": self.gains, "how": "measured"}


class Probe:
    """Tries changes in turn, on the loader that the loop trains from.

    Parameters
    ----------
    done:
        Told of all trials; of a run for the trial alone it does not come back.
    seconds:
        How long the trials may take; those behind are not tried.
    """

    def __init__(
        self,
        timeline: Timeline,
        settings: LoopSettings,
        changes: Sequence[Change],
        done: Callable[[list[Trial]], None],
        seconds: float,
    ) -> None:
        self._timeline, self.loop, self._changes, self._done = timeline, settings, list(changes), done
        self._seconds = seconds
        self.finished = False
        self._todo = [(change, which) for change in self._changes for which in _ORDER]
        self._blocks: dict[str, tuple[list[Block], list[Block]]] = {c.text: ([], []) for c in self._changes}
        self._failed: dict[str, str] = {}
        self._end = 0.0
        self._epochs = 0

    def batches(self, loader: Any, iterate: Callable[[Any], Any]) -> Iterator[Any]:
        """What the loop draws from ``loader``, with the trials in it."""
        if self.finished or getattr(loader, "batch_sampler", None) is None:
            yield from iterate(loader)
            return
        before = self._timeline.steps
        for change in self._changes:
            if change.parameter in LOADER and getattr(loader, change.parameter, None) == change.to:
                self._fail(change, "the loop's loader has it already")
        indices = list(loader.batch_sampler)
        position = 0
        warm_up: list[float] = []
        first = iterate(rebuilt(loader, indices[: 2 * _WARM_UP], {}))
        for batch in first:
            position += 1
            warm_up.append(time.monotonic())
            yield batch
        if self._timeline.steps - before < _WARM_UP or position < 2 * _WARM_UP:  # it does not train, or is too short
            yield from iterate(rebuilt(loader, indices[position:], {}))
            return
        source = _Indices(loader, indices[position:], recycle=ENVIRONMENT in os.environ)
        fits = len(source.rest()) // 2 - _UNMEASURED  # a block without and one with a change in each epoch
        length = self._length(warm_up, fits)
        yield from self._try(lambda change: self._block(loader, iterate, source, change, length))
        yield from iterate(rebuilt(loader, source.rest(), {}))

    def steps(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What a loop draws from an iterator of its own, with the trials in it: of what is done around its calls."""
        for change in self._changes:
            if change.parameter in LOADER:
                self._fail(change, "it is a change of torch's DataLoader, and this loop draws its batches without one")
        warm_up: list[float] = []
        for batch in itertools.islice(batches, 2 * _WARM_UP):
            warm_up.append(time.monotonic())
            yield batch
        if len(warm_up) == 2 * _WARM_UP:
            length = self._length(warm_up, _MOST_BLOCK)
            yield from self._try(lambda change: self._drawn(batches, change, length))
        yield from batches

    def _try(self, block_of: Callable[[Change | None], Generator[Any, None, Block]]) -> Generator[Any, None, None]:
        """Block after block as long as this epoch has batches for them; the next one goes on."""
        self._end = self._end or time.monotonic() + self._seconds
        while self._todo and time.monotonic() < self._end:
            change, which = self._todo[0]
            try:
                block = yield from block_of(change if which else None)
            except _EpochOverError:
                break
            except Exception as error:  # noqa: BLE001 - a change that this loop cannot bear is none to advise
                self._fail(change, f"{type(error).__name__}: {error}")
            else:
                self._blocks[change.text][which].append(block)
                self._todo.pop(0)
            finally:
                self._use(None)
        self._epochs += 1
        if not self._todo or time.monotonic() >= self._end or self._epochs > _MOST_EPOCHS:
            self.finished = True
            self._done([self._trial(change) for change in self._changes])

    def _length(self, warm_up: Sequence[float], fits: int) -> int:
        """Measured steps of a block, at most as many as fit, by the moments of the first batches."""
        step = max(1e-4, float(np.median(np.diff(warm_up))))
        return math.ceil(min(_MOST_BLOCK, max(_LEAST_BLOCK, min(fits, _BLOCK_SECONDS / step))))

    def _fail(self, change: Change, why: str) -> None:
        self._failed[change.text] = why
        self._todo = [entry for entry in self._todo if entry[0] != change]

    def _trial(self, change: Change) -> Trial:
        without, with_it = self._blocks[change.text]
        if change.text in self._failed:
            return _untried(change, self._failed[change.text])
        if min(len(without), len(with_it)) not in _STUDENT:
            return _untried(change, "the time was over, or the epochs are too short")
        return compared(change, without, with_it)

    def _use(self, change: Change | None) -> None:
        settings = {change.parameter: change.to} if change is not None else {}
        self.loop.use(settings)
        loaders.cache_pixels(bool(settings.get("cached_pixels")))

    def _block(
        self,
        loader: Any,
        iterate: Callable[[Any], Any],
        source: _Indices,
        change: Change | None,
        length: int,
    ) -> Generator[Any, None, Block]:
        settings = {change.parameter: change.to} if change is not None and change.parameter in LOADER else {}
        workers = int(settings.get("num_workers", loader.num_workers))
        warm_up = max(2, 2 * workers + 1)
        # Behind what is measured the workers still fetch: a block at whose end they rest would look too quick.
        ahead = workers * int(settings.get("prefetch_factor") or loader.prefetch_factor or 2)
        times = max(1, round(settings["batch_size"] / max(1, source.size))) if "batch_size" in settings else 1
        drawn = [list(itertools.chain.from_iterable(part)) for part in source.take(warm_up + length + ahead, times)]
        if settings.get("cached_pixels"):  # the same ones twice: what a later epoch finds
            drawn = drawn[:length] * 2
            warm_up, ahead = length, 0
        end = len(drawn) - ahead
        block = yield from self._timed(iterate(rebuilt(loader, drawn, settings)), change, warm_up, end)
        block.pictures = [len(rows) for rows in drawn[warm_up:end]]
        return block

    def _drawn(self, batches: Iterator[Any], change: Change | None, length: int) -> Generator[Any, None, Block]:
        sizes: list[int] = []

        def some() -> Iterator[Any]:
            for batch in itertools.islice(batches, _WARM_UP + length):
                sizes.append(len(batch))
                yield batch

        block = yield from self._timed(some(), change, _WARM_UP, _WARM_UP + length)
        if len(sizes) < _WARM_UP + length:
            raise _EpochOverError
        block.pictures = sizes[_WARM_UP:]
        return block

    def _timed(
        self, batches: Iterator[Any], change: Change | None, warm_up: int, end: int
    ) -> Generator[Any, None, Block]:
        """The seconds of the steps on batches, from the one after ``warm_up`` to number ``end``."""
        self._use(change)
        moments: list[float] = []
        for number, batch in enumerate(batches, 1):
            yield batch
            # The loop asks for the next batch: its step is over.
            if number in (warm_up, end):
                _synchronize()
            moments.append(time.monotonic())
        return Block(np.diff(moments[warm_up - 1 : end]).tolist(), memory=_memory())


class _EpochOverError(Exception):
    pass


class _Indices:
    """The batches of indices of an epoch that are still to come; of a run for the trial alone, epoch after epoch."""

    def __init__(self, loader: Any, indices: list[Any], *, recycle: bool) -> None:
        self._loader, self._indices, self._recycle = loader, indices, recycle
        self.size = len(indices[0]) if indices else 1

    def take(self, n: int, times: int) -> list[list[Any]]:
        """``n`` groups of ``times`` batches of full size."""
        if self._recycle:
            while len(self._indices) < n * times:
                more = list(self._loader.batch_sampler)
                if not more:
                    raise _EpochOverError
                self._indices += more
        if len(self._indices) < n * times:
            raise _EpochOverError
        taken, self._indices = self._indices[: n * times], self._indices[n * times :]
        return [taken[i : i + times] for i in range(0, len(taken), times)]

    def rest(self) -> list[Any]:
        """What the epoch still has."""
        return self._indices


def compared(change: Change, without: Sequence[Block], with_it: Sequence[Block]) -> Trial:
    """The gain in images per second, with an interval by the pairs of neighbouring blocks.

    What else a machine does lasts for some steps, so that those of a block are slow together: a block counts as one
    measurement. The interval is Student's, of the mean of the logarithms of the pairs' ratios.
    """
    rates = [np.array([sum(b.pictures) / sum(b.seconds) for b in blocks]) for blocks in (without, with_it)]
    pairs = min(map(len, rates))
    ratios = np.log(rates[1][:pairs] / rates[0][:pairs])
    half = _STUDENT[pairs] * float(ratios.std(ddof=1)) / math.sqrt(pairs)
    gain, low, high = np.exp(float(ratios.mean()) + np.array([0.0, -half, half])).tolist()
    before, after = (sum(sum(b.pictures) for b in s) / sum(sum(b.seconds) for b in s) for s in (without, with_it))
    memory = (max(b.memory for b in with_it) - max(b.memory for b in without)) >> 20
    return Trial(change.text, before, after, gain, low, high, memory, sum(len(b.seconds) for b in (*without, *with_it)))


def _untried(change: Change, why: str) -> Trial:
    return Trial(change.text, 0.0, 0.0, 1.0, 1.0, 1.0, 0, 0, why)


def _memory() -> int:
    """Resident bytes of this process and what it started."""
    import psutil

    process, total = psutil.Process(), 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            total += one.memory_info().rss
    return total


def _synchronize() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def ending_probe(timeline: Timeline, settings: LoopSettings) -> Probe | None:
    """Of a process that was started for a trial alone, and ends with it; None for any other."""
    text = os.environ.get(ENVIRONMENT)
    if not text:
        return None
    asked = json.loads(text)

    def done(trials: list[Trial]) -> None:
        write_trials(Path(asked["out"]), trials)
        sys.stdout.flush()
        os._exit(0)

    return Probe(timeline, settings, [Change.parse(c) for c in asked["changes"]], done, float(asked["seconds"]))


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """In one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.tmp")
    half.write_text(json.dumps({"changes": [trial.to_dict() for trial in trials]}))
    half.replace(path)
