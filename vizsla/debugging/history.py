"""A training as rules see it: losses and statistics in the order in which they came."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.debugging.store import Row

Floats = npt.NDArray[np.float64]
TRAINS = ("TRAIN", "GLOBAL")
"""Modes of steps that train: a script that sets no mode is in ``GLOBAL``."""


class Series:
    """Values by step, in arrays that grow."""

    def __init__(self) -> None:
        self._steps: npt.NDArray[np.int64] = np.zeros(64, np.int64)
        self._values: Floats = np.zeros(64)
        self._n = 0

    def append(self, step: int, value: float) -> None:
        """Add the value of a step; of several of one step, all are kept."""
        if self._n == len(self._values):
            self._steps, self._values = np.tile(self._steps, 2), np.tile(self._values, 2)
        self._steps[self._n], self._values[self._n] = step, value
        self._n += 1

    def __len__(self) -> int:
        return self._n

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """(n,)"""
        return self._steps[: self._n]

    @property
    def values(self) -> Floats:
        """(n,)"""
        return self._values[: self._n]


@dataclass(frozen=True)
class Pass:
    """One pass over the validation pictures: what was recorded between two steps that train."""

    step: int
    """Its last step."""
    losses: Floats
    labels: Floats
    predictions: Floats

    @property
    def loss(self) -> float:
        """The mean over its batches."""
        return float(self.losses.mean())

    @property
    def accuracy(self) -> float:
        """The share that was right; NaN where nothing was seen of the labels."""
        return float((self.labels == self.predictions).mean()) if len(self.labels) else math.nan


class History:
    """All rows so far. Rules look at it after each complete step; nothing of a later step is there yet.

    Parameters
    ----------
    facts:
        What the hook said once (``index.json``).
    """

    def __init__(self, facts: dict[str, Any] | None = None) -> None:
        self.facts: dict[str, Any] = facts or {}
        self.step = -1
        """The step that was completed last."""
        self.mode = "TRAIN"
        self.time = 0.0
        self.rows: dict[str, dict[int, list[Row]]] = defaultdict(dict)
        """Collection to step to rows."""
        self.by_name: dict[str, list[Row]] = defaultdict(list)
        self.train_losses: dict[str, Series] = defaultdict(Series)
        self.eval_losses: dict[str, Series] = defaultdict(Series)
        self.passes: list[Pass] = []
        """Whole passes over the validation pictures."""
        self._eval: list[Row] = []
        self.classes: int | None = None
        self.batch: int | None = None
        """Pictures of the largest batch that trained."""
        self.batch_now: int | None = None
        """Pictures of this step's."""
        self.label_counts: Counter[int] = Counter()
        """How often the training loss was given each class."""
        self.right_counts: Counter[int] = Counter()
        """How often that was what the model said."""
        self.steps_seen = 0
        self.updated_steps = 0
        """Watched steps in which an optimizer stepped."""

    def add(self, step: int, rows: Sequence[Row]) -> None:
        """Complete a step."""
        self.step, self.mode, self.time = step, rows[0].mode, rows[-1].time
        self.steps_seen += 1
        self.batch_now = None
        if self.mode in TRAINS and any(row.collection == "losses" for row in rows):
            self._end_pass()
        moved = False
        for row in rows:
            if row.collection != "predictions":  # every batch's: they are counted
                self.rows[row.collection].setdefault(step, []).append(row)
                self.by_name[row.name].append(row)
            if row.collection == "losses":
                series = self.train_losses if row.mode in TRAINS else self.eval_losses
                series[row.name].append(step, row.mean)
            elif row.collection == "predictions":
                self._batch(row)
            moved |= row.collection == "updates"
            if row.mode == "EVAL" and row.collection in ("losses", "predictions"):
                self._eval.append(row)
        self.updated_steps += moved

    def end(self) -> None:
        """Nothing more comes."""
        self._end_pass()

    def _batch(self, row: Row) -> None:
        n, classes = (int(part) for part in row.shape.split(","))
        if row.mode in TRAINS:
            self.batch_now = n
            self.batch = max(n, self.batch or 0)
        values = row.values or ()
        labels = [int(label) for label in values[:n] if label == label]
        if not labels:  # not of one class a picture
            return
        self.classes = max(classes, self.classes or 0)
        if row.mode in TRAINS:
            self.label_counts.update(labels)
            self.right_counts.update(int(a) for a, b in zip(values[:n], values[n:], strict=False) if a == b)

    def _end_pass(self) -> None:
        rows, self._eval = self._eval, []
        losses = [row.mean for row in rows if row.collection == "losses"]
        if not losses:
            return
        batches = [(row.n, row.values or ()) for row in rows if row.collection == "predictions"]
        labels = np.array([value for n, values in batches for value in values[:n]], np.float64)
        predictions = np.array([value for n, values in batches for value in values[n:]], np.float64)
        known = ~np.isnan(labels)
        self.passes.append(Pass(rows[-1].step, np.array(losses, np.float64), labels[known], predictions[known]))

    # What many rules ask.

    @property
    def losses(self) -> Series:
        """The training loss: the one that was recorded most often."""
        return max(self.train_losses.values(), key=len, default=Series())

    @property
    def chance(self) -> float | None:
        """The cross-entropy of guessing, nats; None where the loss is none or the classes are not seen."""
        classes = self.classes or self.facts.get("classes")
        loss = str((self.facts.get("loss") or {}).get("name", "")).lower()
        is_entropy = any(word in loss for word in ("crossentropy", "cross_entropy", "nll")) and "binary" not in loss
        return math.log(classes) if classes and classes > 1 and is_entropy else None

    def at(self, collection: str, step: int | None = None) -> list[Row]:
        """The rows of a collection at a step, by default the last one."""
        return self.rows[collection].get(self.step if step is None else step, [])

    def last(self, name: str, n: int) -> list[Row]:
        """The last ``n`` rows of a tensor."""
        return self.by_name[name][-n:]

    def update_ratios(self, step: int | None = None) -> dict[str, float]:
        """Weight to the size of its update over its own, at a step; of weights only, not of biases and scales."""
        weights = {row.name: row.l2 for row in self.at("weights", step)}
        return {
            name: row.l2 / weights[name]
            for row in self.at("updates", step)
            if (name := row.name.removeprefix("update/")) in weights and weights[name] > 0
        }

    def median_ratio(self, last: int = 5) -> float | None:
        """The median of :meth:`update_ratios` over the last watched steps; None where there are none."""
        steps = list(self.rows["updates"])[-last:]
        values = [ratio for step in steps for ratio in self.update_ratios(step).values()]
        return float(np.median(values)) if values else None


def of_layers(rows: Iterable[Row]) -> list[Row]:
    """Those of matrices and kernels that layers call their weights: no scales, tokens or tables of positions."""
    return [row for row in rows if row.name.endswith("weight") and sum(n != "1" for n in row.shape.split(",")) > 1]


def grouped(rows: Iterable[Row]) -> list[tuple[int, list[Row]]]:
    """Rows by step, in the order of steps."""
    steps: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        steps[row.step].append(row)
    return sorted(steps.items())
