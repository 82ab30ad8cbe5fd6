"""The segments of a training process as columns, and the steps that they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.profiling.timeline import LAST, MARK, SEGMENT, Phase

_DTYPE = np.dtype([("began", "<u8"), ("us", "<u4"), ("count", "<u2"), ("phase", "u1"), ("flags", "u1")])
assert _DTYPE.itemsize == SEGMENT.size
TRAIN, EVAL, OTHER = 1, 2, 0
_OUTSIDE = (Phase.CHECKPOINT, Phase.WEIGHTS, Phase.EVALUATION, Phase.COMPILE)
"""What happens between batches, or once, and is not counted to a step."""
_MOST_STEPS = 8
"""On one batch of a loader: of a GAN's networks, say. More of them are a loop of its own on data drawn once."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """Steps of one mode, in order: begin and length in seconds of Unix time, first and last segment, pictures."""

    began: Floats
    seconds: Floats
    pictures: Ints
    wait: Floats
    """Of them, seconds that waited for data."""
    numbers: Ints
    begins: npt.NDArray[np.bool_]
    """Whether a loader had begun just before: its workers start."""

    def __len__(self) -> int:
        return len(self.began)


@dataclass(frozen=True)
class Segments:
    """What one process did: begin and end (seconds of Unix time), phase, count and flags, all (n,), by time."""

    began: Floats
    ended: Floats
    phase: npt.NDArray[np.uint8]
    count: npt.NDArray[np.uint16]
    flags: npt.NDArray[np.uint8]
    facts: dict[str, Any]
    breaks: Floats = field(default_factory=lambda: np.empty(0))
    """Moments (seconds of Unix time) at which the loop breaks off for something else, in order."""

    @classmethod
    def read(cls, path: Path) -> Segments:
        """From ``PID.segments``; half a segment at its end, of a process that was killed, is left out."""
        data = path.read_bytes()
        raw = np.frombuffer(data[: len(data) // SEGMENT.size * SEGMENT.size], _DTYPE)
        raw = raw[np.argsort(raw["began"], kind="stable")]
        began = raw["began"].astype(np.float64) / 1e9
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
        except (OSError, ValueError):
            facts = {}
        ended = began + raw["us"].astype(np.float64) / 1e6
        return cls(began, ended, raw["phase"], raw["count"], raw["flags"], facts)

    def __len__(self) -> int:
        return len(self.began)

    def within(self, spans: Sequence[tuple[float, float]]) -> Segments:
        """Those that begin within one of some spans (seconds of Unix time, in order), between which the loop stands."""
        begins, ends = (np.array(values) for values in zip(*spans, strict=True))
        at = np.searchsorted(begins, self.began, side="right") - 1
        kept = (at >= 0) & (self.began < ends[at])
        columns = {name: getattr(self, name)[kept] for name in ("began", "ended", "phase", "count", "flags")}
        return replace(self, **columns, breaks=ends)

    @cached_property
    def groups(self) -> Ints:
        """(n,) the number of the batch that each segment belongs to; -1 before the first.

        A batch begins with the waiting for its data, and is one up to its last backward pass or step: a teacher's pass
        without gradients and the steps of several optimizers are parts of it. Behind that, and where no loader is
        seen, it begins with a forward pass after a backward pass, a step, or a forward pass of the other kind (with or
        without gradients), or with the backward pass where no forward pass is seen.
        """
        phase, n = self.phase, len(self)
        is_data = (phase == Phase.DATA) & (self.flags != MARK)
        core = is_data | np.isin(phase, (Phase.FORWARD, Phase.BACKWARD)) | self.is_step
        at = np.flatnonzero(core)
        kinds = phase[at]
        before = np.concatenate([[Phase.OTHER], kinds[:-1]])
        forward = kinds == Phase.FORWARD
        plain = np.where(forward, self.flags[at] & MARK, 2)
        last = _forward_fill(plain, plain != 2)
        changed = forward & (np.concatenate([[2], last[:-1]]) != plain)
        own = forward & (np.isin(before, (Phase.BACKWARD, Phase.OPTIMIZER)) | changed)
        # Of a loop that calls no module, as when all of its step is compiled.
        own |= (kinds == Phase.BACKWARD) & np.isin(before, (Phase.OTHER, Phase.OPTIMIZER))
        # A model and its loss are two forward passes of one batch; a loader's wait belongs to what follows it.
        drawn = (kinds == Phase.DATA) & (before != Phase.DATA)
        begins = drawn | own & (before != Phase.DATA) & ~self._within_batch(at, np.cumsum(drawn))
        result = np.full(n, -1, np.int64)
        result[at] = np.cumsum(begins) - 1
        filled = _forward_fill(result, core)
        return np.where(np.arange(n) >= (at[0] if len(at) else n), filled, -1)

    def _within_batch(self, at: Ints, draws: Ints) -> npt.NDArray[np.bool_]:
        """(len(at),) of segments ``at``, each after so many draws, whether it is before the last backward pass or step
        of a batch that a loader gave."""
        phase, count = self.phase[at], int(draws.max(initial=0)) + 1
        steps = np.bincount(draws[self.is_step[at]], minlength=count)
        over = np.bincount(draws[(phase == Phase.DATA) & (self.flags[at] == LAST)], minlength=count)
        last = np.full(count, -1, np.int64)
        trains = np.flatnonzero((phase == Phase.BACKWARD) | self.is_step[at])
        np.maximum.at(last, draws[trains], trains)
        batches = (np.arange(count) > 0) & (over == 0) & (steps <= _MOST_STEPS)
        within: npt.NDArray[np.bool_] = batches[draws] & (np.arange(len(at)) < last[draws])
        return within

    @cached_property
    def is_step(self) -> npt.NDArray[np.bool_]:
        """(n,) whether it is a step of an optimizer."""
        steps: npt.NDArray[np.bool_] = (self.phase == Phase.OPTIMIZER) & (self.flags != MARK)
        return steps

    @cached_property
    def group_modes(self) -> npt.NDArray[np.uint8]:
        """(groups,) of each batch, whether it trains (a backward pass or a step), evaluates (a forward pass alone), or
        does neither."""
        count = int(self.groups.max(initial=-1)) + 1
        modes = np.zeros(count, np.uint8)
        inside = self.groups >= 0
        for mode, chosen in (
            (EVAL, self.phase == Phase.FORWARD),
            (TRAIN, (self.phase == Phase.BACKWARD) & (self.flags != MARK) | self.is_step),
        ):
            modes[self.groups[inside & chosen]] = mode
        return modes

    @cached_property
    def modes(self) -> npt.NDArray[np.uint8]:
        """(n,) the mode of each segment's batch; saving and preparing belong to none."""
        modes = np.zeros(len(self), np.uint8)
        inside = self.groups >= 0
        modes[inside] = self.group_modes[self.groups[inside]]
        modes[np.isin(self.phase, (*_OUTSIDE, Phase.IMPORTS))] = OTHER
        modes[self.phase == Phase.EVALUATION] = EVAL
        return modes

    @cached_property
    def loop(self) -> tuple[float, float]:
        """Begin and end (seconds of Unix time) of the training loop: its first batch to its last."""
        inside = np.flatnonzero((self.groups >= 0) & (self.modes > 0))
        if not len(inside):
            return (self.began[-1], self.began[-1]) if len(self) else (0.0, 0.0)
        return float(self.began[inside[0]]), float(self.ended[inside].max())

    @cached_property
    def _steps(self) -> dict[int, Steps]:
        return {}

    def steps(self, mode: int = TRAIN) -> Steps:
        """The steps of a mode. A training step ends where the batch after an optimizer's step begins: several batches
        whose gradients add up are one. Checkpoints and evaluations between two batches are not counted."""
        if mode not in self._steps:
            self._steps[mode] = self._steps_of(mode)
        return self._steps[mode]

    def _steps_of(self, mode: int) -> Steps:
        groups, modes = self.groups, self.group_modes
        if not len(modes):
            empty = np.empty(0)
            return Steps(empty, empty, empty.astype(int), empty, empty.astype(int), empty.astype(bool))
        inside = groups >= 0
        count = len(modes)
        first = np.searchsorted(groups[inside], np.arange(count)) + int(np.argmax(inside))
        begins = self.began[first]
        ends = np.append(begins[1:], self.loop[1])
        ends = np.minimum(ends, np.append(self.breaks, np.inf)[np.searchsorted(self.breaks, begins, side="right")])
        length = ends - begins
        outside = np.isin(self.phase, _OUTSIDE) & inside
        length -= np.bincount(groups[outside], (self.ended - self.began)[outside], count)
        wait = np.bincount(
            groups[inside], np.where(self.phase == Phase.DATA, self.ended - self.began, 0)[inside], count
        )
        pictures = np.zeros(count, np.int64)
        forward = inside & (self.phase == Phase.FORWARD)
        np.maximum.at(pictures, groups[forward], self.count[forward].astype(np.int64))
        data = inside & (self.phase == Phase.DATA)
        drawn = np.bincount(groups[data], self.count[data], count).astype(np.int64)
        pictures = np.where(drawn > 0, drawn, pictures)
        begins_loader = np.zeros(count, bool)
        after = groups[(self.phase == Phase.DATA) & (self.flags == MARK)] + 1
        begins_loader[after[after < count]] = True
        own = np.flatnonzero(modes == mode)
        if mode == TRAIN and len(own):
            stepped = np.bincount(groups[inside & self.is_step], minlength=count)[own] > 0
            if stepped.any():  # what no optimizer has used yet is no step
                own = own[: int(np.flatnonzero(stepped)[-1]) + 1]
                stepped = stepped[: len(own)]
            number = np.concatenate([[0], np.cumsum(stepped)[:-1]])
        else:
            number = np.arange(len(own))
        total = int(number.max(initial=-1)) + 1
        starts = np.searchsorted(number, np.arange(total))
        return Steps(
            begins[own][starts],
            np.bincount(number, length[own], total).astype(np.float64),
            np.bincount(number, pictures[own], total).astype(np.int64),
            np.bincount(number, wait[own], total).astype(np.float64),
            np.arange(total),
            begins_loader[own][starts],
        )


def _forward_fill(values: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Each value where ``where`` is, and elsewhere the last such before it (the first value before any)."""
    at = np.maximum.accumulate(np.where(where, np.arange(len(values)), 0)) if len(values) else np.empty(0, int)
    return values[at]
