"""Linear heads at the optimum of their problem: multinomial logistic regression on standardised features.

The problem is convex, so that its answer depends on the data and the strength of the decay alone: there is no learning
rate, no batch and no epoch to choose. The bias is free of decay and starts at the logarithm of the classes' shares: the
answer under an endless decay is the constant one, and no strength ends above its loss on the training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vizsla.settings import settings
from vizsla.training import lbfgs
from vizsla.training.config import LogisticConfig
from vizsla.training.folds import fold_of
from vizsla.training.head_data import HeadData, chunks
from vizsla.training.trained import EpochMetrics, OnEpoch, PathPoint, TrainedHead

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

STRENGTHS = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 3e-5, 1e-5, 3e-6, 1e-6)
"""The path: strengths of decay that are compared, on the scale of the mean cross-entropy of standardised features."""
TOGETHER = 6
"""Strengths trained as one product; the path ends with the run in which the loss on held-out pictures turns."""
ENOUGH = 300
"""Validation pictures from which on the strength is chosen by them alone."""
FOLDS = 5
HELD_OUT = 1000
"""Training pictures, at most some more, that cross-validation holds out where there are more of them."""

_COARSE = 3e-3
"""The length of the gradient, as a share of its length under the constant answer, at which strengths are compared."""
_FINE = 0.01
"""The length of the gradient, as a share of the decay's part of it, at which the head that is kept has converged: no
further than this share from the optimum's weights, as the decay alone curves the problem by its strength."""
_NOISE = 1e-5
"""What a gradient summed in float32 is worth, as a share of its length under the constant answer."""
_ITERATIONS = 300
_CHUNK = 512
_BYTES = 512 << 20
"""What the steps that are remembered may take."""


def train_to_optimum(
    data: HeadData,
    configs: Mapping[int, LogisticConfig],
    on_epoch: OnEpoch = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, TrainedHead]:
    """Train one head for each configuration; see :func:`vizsla.training.heads.train_heads`.

    ``on_epoch`` is called once, with all metrics.
    """
    if not configs:
        return {}
    with ThreadPoolExecutor(settings().threads) as threads:
        pool = _Pool(threads, stop)
        paths = {i: _path(data, c, pool) for i, c in configs.items() if c.weight_decay is None}
        chosen = {i: replace(c, weight_decay=paths[i].strength) if i in paths else c for i, c in configs.items()}
        problems = [_Problem.of(data, data.train, c) for c in chosen.values()]
        near = _near(data, problems, [paths[i].weights if i in paths else None for i in chosen], pool)
        solved = _solve(data, data.train, problems, near, pool, fine=True)
        valid = _measure(data, data.valid, problems, solved.weights, pool)
    trained = {}
    for at, (i, config) in enumerate(chosen.items()):
        path = paths.get(i)
        metrics = EpochMetrics(1, float(solved.losses[at]), float(valid.plain_loss[at]), float(valid.right[at]))
        trained[i] = TrainedHead(
            config,
            data.inputs.fold(solved.weights[at]),
            best_epoch=1,
            stopped_by=solved.endings[at],
            history=[metrics],
            path=() if path is None else path.points,
            iterations=int(solved.iterations[at]) + (0 if path is None else path.iterations),
        )
    on_epoch({i: head.history[0] for i, head in trained.items()})
    return trained


@dataclass(frozen=True)
class _Pool:
    """What the work is done on, and whether it is to end now."""

    threads: ThreadPoolExecutor
    stop: Callable[[], bool]


@dataclass(frozen=True)
class _Problem:
    """``decay`` λ, what a picture of each class weighs (classes,), and the share of the label that is spread out."""

    decay: float
    level: Floats
    smoothing: float

    @classmethod
    def of(cls, data: HeadData, rows: Rows, config: LogisticConfig) -> _Problem:
        level = np.ones(data.classes, np.float32) if config.balance == "none" else data.class_weights(rows)
        return cls(config.weight_decay or 0.0, level, config.label_smoothing)


@dataclass(frozen=True)
class _Solution:
    """Weights (t, d + 1, classes), the mean training losses (t,) without decay, how and after what each ended."""

    weights: Floats
    losses: Doubles
    endings: Sequence[lbfgs.Ending]
    iterations: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Measured:
    """Of t heads on some pictures: the mean loss, weighted as in training and plain, and the share that is right."""

    loss: Doubles
    plain_loss: Doubles
    right: Doubles


@dataclass(frozen=True)
class _Path:
    """The strength that did best on held-out pictures, the weights reached at it (d + 1, classes), all points."""

    strength: float
    weights: Floats
    points: tuple[PathPoint, ...]
    iterations: int


def _path(data: HeadData, config: LogisticConfig, pool: _Pool) -> _Path:
    """Compare the strengths, from strong to weak, until the loss on held-out pictures has turned."""
    held = _held_out(data, config.seed)
    size = (data.table.features + 1) * data.classes * 4 * (2 * lbfgs.MEMORY + 6)
    together = min(TOGETHER, max(1, _BYTES // size))
    starts: list[Floats | None] = [None] * len(held)
    points: list[PathPoint] = []
    best: Floats | None = None
    iterations = 0
    for begin in range(0, len(STRENGTHS), together):
        strengths = STRENGTHS[begin : begin + together]
        losses, right, pictures = np.zeros(len(strengths)), np.zeros(len(strengths)), 0
        weights = np.empty(0, np.float32)
        for at, (train, test) in enumerate(held):
            problems = [_Problem.of(data, train, replace(config, weight_decay=s)) for s in strengths]
            solved = _solve(data, train, problems, [starts[at]] * len(strengths), pool)
            starts[at] = solved.weights[-1]
            measured = _measure(data, test, problems, solved.weights, pool)
            losses += measured.loss * len(test)
            right += measured.right * len(test)
            pictures += len(test)
            if at == 0:
                weights = solved.weights
                iterations += int(solved.iterations.max())
        points += [
            PathPoint(s, float(loss / max(1, pictures)), float(share / max(1, pictures)), pictures, len(held) - 1)
            for s, loss, share in zip(strengths, losses, right, strict=True)
        ]
        least = int(np.argmin([point.loss for point in points]))
        if least >= begin:
            best = weights[least - begin]
        if least < len(points) - 1 or pool.stop():
            break
    assert best is not None
    return _Path(STRENGTHS[least], best, tuple(points), iterations)


def _held_out(data: HeadData, seed: int) -> list[tuple[Rows, Rows]]:
    """Rows to train on and rows to compare strengths by: the splits, and folds of train where validation is small."""
    pairs = [(data.train, data.valid)]
    if len(data.valid) >= ENOUGH:
        return pairs
    fold = fold_of(data.train, data.labels, data.groups, FOLDS, seed)
    # A class of one group would be missed by its fold's head: its pictures always train.
    labels = data.labels[data.train]
    parted = {label for label in np.unique(labels).tolist() if np.ptp(fold[labels == label]) > 0}
    alone = ~np.isin(labels, list(parted))
    done = len(data.valid)
    for k in range(FOLDS):
        test = (fold == k) & ~alone
        if test.any() and not test.all() and done < HELD_OUT:
            pairs.append((data.train[~test], data.train[test]))
            done += int(test.sum())
    return pairs


def _near(
    data: HeadData, problems: Sequence[_Problem], starts: Sequence[Floats | None], pool: _Pool
) -> Sequence[Floats | None]:
    """Weights near each optimum, where the path has none."""
    lacking = [t for t, start in enumerate(starts) if start is None]
    if not lacking:
        return starts
    solved = _solve(data, data.train, [problems[t] for t in lacking], [None] * len(lacking), pool)
    near = dict(zip(lacking, solved.weights, strict=True))
    return [near.get(t, start) for t, start in enumerate(starts)]


def _solve(
    data: HeadData,
    rows: Rows,
    problems: Sequence[_Problem],
    starts: Sequence[Floats | None],
    pool: _Pool,
    *,
    fine: bool = False,
) -> _Solution:
    """The optimum of each problem over ``rows``; ``fine`` from starts that are near."""
    shape = (len(problems), data.table.features + 1, data.classes)
    constant = np.zeros(shape, np.float32)
    constant[:, -1] = [data.log_shares(rows, problem.level) for problem in problems]
    objective = _Objective(data, rows, problems, pool)
    everything = np.arange(len(problems))
    _, gradients = objective(constant.reshape(len(problems), -1), everything)
    lengths = np.linalg.norm(gradients.astype(np.float64), axis=1)
    start = np.stack([constant[t] if s is None else s for t, s in enumerate(starts)])
    tolerance = _COARSE * lengths
    if fine:
        own = [p.decay * float(np.linalg.norm(w[:-1])) for p, w in zip(problems, start, strict=True)]
        tolerance = np.clip(_FINE * np.array(own), _NOISE * lengths, tolerance)
    found = lbfgs.minimise(
        objective,
        start.reshape(len(problems), -1),
        tolerance=tolerance,
        iterations=_ITERATIONS,
        stop=pool.stop,
    )
    weights = found.points.reshape(shape)
    penalties = np.array([problem.decay for problem in problems]) / 2 * (weights[:, :-1].astype(float) ** 2).sum((1, 2))
    return _Solution(weights, found.values - penalties, found.endings, found.iterations)


class _Objective:
    """Mean cross-entropy plus decay of several problems over the same rows, and its gradient.

    One pass over the rows in chunks, some at a time: memory does not grow with the pictures, and the sum over chunks
    is taken in their order whatever the threads.
    """

    def __init__(self, data: HeadData, rows: Rows, problems: Sequence[_Problem], pool: _Pool) -> None:
        self._data, self._rows, self._pool = data, rows, pool
        self._decay = np.array([problem.decay for problem in problems], np.float32)
        self._level = np.stack([problem.level for problem in problems])
        self._smoothing = np.array([problem.smoothing for problem in problems], np.float32)
        self._level /= self._level[:, data.labels[rows]].sum(axis=1, dtype=np.float64)[:, None].astype(np.float32)

    def __call__(self, points: Floats, at: Rows) -> tuple[Doubles, Floats]:
        t, d, c = len(at), self._data.table.features + 1, self._data.classes
        weights = np.ascontiguousarray(points.reshape(t, d, c).transpose(1, 0, 2)).reshape(d, t * c)
        level, smoothing = self._level[at], self._smoothing[at]

        def chunk(rows: Rows) -> tuple[Doubles, Floats]:
            x, y = self._data.inputs(rows), self._data.labels[rows]
            z = (x @ weights).reshape(len(rows), t, c)
            z -= z.max(axis=2, keepdims=True)
            own, mean = z[np.arange(len(rows)), :, y], z.mean(axis=2)
            np.exp(z, out=z)
            total = z.sum(axis=2)
            weight = level[:, y].T
            loss = (np.log(total) - own + smoothing * (own - mean)) * weight
            z *= (weight / total)[:, :, None]
            z[np.arange(len(rows)), :, y] -= (1 - smoothing) * weight
            if smoothing.any():
                z -= (smoothing / c * weight)[:, :, None]
            return loss.sum(axis=0, dtype=np.float64), x.T @ z.reshape(len(rows), t * c)

        values, gradient = np.zeros(t), np.zeros((d, t * c), np.float32)
        for loss, part in self._pool.threads.map(chunk, chunks(self._rows, _CHUNK)):
            values += loss
            gradient += part
        gradients = np.ascontiguousarray(gradient.reshape(d, t, c).transpose(1, 0, 2))
        decayed = points.reshape(t, d, c)[:, :-1]
        gradients[:, :-1] += self._decay[at][:, None, None] * decayed
        values += self._decay[at] / 2 * np.array([np.dot(w.ravel(), w.ravel()) for w in decayed], np.float64)
        return values, gradients.reshape(t, d * c)


def _measure(data: HeadData, rows: Rows, problems: Sequence[_Problem], weights: Floats, pool: _Pool) -> _Measured:
    """How heads do on ``rows``."""
    t, d, c = weights.shape
    side_by_side = np.ascontiguousarray(weights.transpose(1, 0, 2)).reshape(d, t * c)
    level = np.stack([problem.level for problem in problems])

    def chunk(part: Rows) -> tuple[Doubles, Doubles, Doubles, Doubles]:
        y = data.labels[part]
        z = (data.inputs(part) @ side_by_side).reshape(len(part), t, c)
        right = (z.argmax(axis=2) == y[:, None]).sum(axis=0, dtype=np.float64)
        z -= z.max(axis=2, keepdims=True)
        loss = np.log(np.exp(z).sum(axis=2)) - z[np.arange(len(part)), :, y]
        weight = level[:, y].T
        return (
            (loss * weight).sum(axis=0, dtype=np.float64),
            weight.sum(axis=0, dtype=np.float64),
            loss.sum(axis=0, dtype=np.float64),
            right,
        )

    sums = [np.zeros(t) for _ in range(4)]
    for parts in pool.threads.map(chunk, chunks(rows, _CHUNK)):
        for total, part in zip(sums, parts, strict=True):
            total += part
    weighted, mass, plain, right = sums
    n = max(1, len(rows))
    return _Measured(weighted / np.maximum(mass, 1e-12), plain / n, right / n)
