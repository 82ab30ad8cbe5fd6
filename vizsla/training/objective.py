"""What a head is trained for: mean cross-entropy plus decay, of several heads of one kind over the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vizsla.models.heads import Head
from vizsla.training.config import LbfgsConfig
from vizsla.training.head_data import HeadData, Rows, chunks

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_CHUNK = 512


@dataclass(frozen=True)
class Problem:
    """``decay`` λ, what a picture of each class weighs (classes,), and the share of the label that is spread out."""

    decay: float
    level: Floats
    smoothing: float

    @classmethod
    def of(cls, data: HeadData, rows: Rows, config: LbfgsConfig) -> Problem:
        """What ``config`` asks of a head that is trained on ``rows``."""
        level = np.ones(data.classes, np.float32) if config.balance == "none" else data.class_weights(rows)
        return cls(config.weight_decay or 0.0, level, config.label_smoothing)


class Objective:
    """Values (t,) and gradients (t, size) of t problems at points of a kind of head.

    One pass over the rows in chunks, some at a time: memory does not grow with the pictures, and the sum over chunks
    is taken in their order whatever the threads.
    """

    def __init__(
        self, kind: type[Head], data: HeadData, rows: Rows, problems: Sequence[Problem], threads: ThreadPoolExecutor
    ) -> None:
        self._kind, self._data, self._rows, self._threads = kind, data, rows, threads
        self._decay = np.array([problem.decay for problem in problems], np.float32)
        self._level = np.stack([problem.level for problem in problems])
        self._smoothing = np.array([problem.smoothing for problem in problems], np.float32)
        self._level /= self._level[:, data.labels[rows]].sum(axis=1, dtype=np.float64)[:, None].astype(np.float32)
        self._decayed = kind.decayed(data.table.features, data.classes)

    def __call__(self, points: Floats, at: Rows) -> tuple[Doubles, Floats]:
        classes = self._data.classes
        level, smoothing = self._level[at], self._smoothing[at]

        def chunk(rows: Rows) -> tuple[Doubles, Floats]:
            x, y = self._data.inputs(rows), self._data.labels[rows]
            z = self._kind.forward(points, x, classes)
            z -= z.max(axis=2, keepdims=True)
            own, mean = z[np.arange(len(rows)), :, y], z.mean(axis=2)
            np.exp(z, out=z)
            total = z.sum(axis=2)
            weight = level[:, y].T
            loss = (np.log(total) - own + smoothing * (own - mean)) * weight
            z *= (weight / total)[:, :, None]
            z[np.arange(len(rows)), :, y] -= (1 - smoothing) * weight
            if smoothing.any():
                z -= (smoothing / classes * weight)[:, :, None]
            return loss.sum(axis=0, dtype=np.float64), self._kind.backward(points, x, z)

        values, gradients = np.zeros(len(at)), np.zeros_like(points)
        for loss, part in self._threads.map(chunk, chunks(self._rows, _CHUNK)):
            values += loss
            gradients += part
        gradients += self._decay[at][:, None] * np.where(self._decayed, points, 0)
        return values + self.penalties(points, at), gradients

    def penalties(self, points: Floats, at: Rows) -> Doubles:
        """What the decay adds to each value, (t,)."""
        return self._decay[at] / 2 * self.decayed_lengths(points) ** 2

    def decayed_lengths(self, points: Floats) -> Doubles:
        """The length of what is decayed of each point, (t,)."""
        lengths: Doubles = np.linalg.norm(np.where(self._decayed, points, 0).astype(np.float64), axis=1)
        return lengths


@dataclass(frozen=True)
class Measures:
    """Of t heads on some pictures: the mean loss, weighted as in training and plain, and the share that is right."""

    loss: Doubles
    plain_loss: Doubles
    right: Doubles


def measure(
    kind: type[Head],
    data: HeadData,
    rows: Rows,
    problems: Sequence[Problem],
    points: Floats,
    threads: ThreadPoolExecutor,
) -> Measures:
    """How the heads of some points, one for each problem, do on ``rows``."""
    level = np.stack([problem.level for problem in problems])

    def chunk(part: Rows) -> tuple[Doubles, ...]:
        y = data.labels[part]
        z = kind.forward(points, data.inputs(part), data.classes)
        right = (z.argmax(axis=2) == y[:, None]).sum(axis=0, dtype=np.float64)
        z -= z.max(axis=2, keepdims=True)
        loss = np.log(np.exp(z).sum(axis=2)) - z[np.arange(len(part)), :, y]
        weight = level[:, y].T
        weighted = (loss * weight).sum(axis=0, dtype=np.float64)
        return weighted, weight.sum(axis=0, dtype=np.float64), loss.sum(axis=0, dtype=np.float64), right

    sums = [np.zeros(len(points)) for _ in range(4)]
    for parts in threads.map(chunk, chunks(rows, _CHUNK)):
        for total, part in zip(sums, parts, strict=True):
            total += part
    weighted, mass, plain, right = sums
    n = max(1, len(rows))
    return Measures(weighted / np.maximum(mass, 1e-12), plain / n, right / n)
