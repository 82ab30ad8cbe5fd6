"""Heads at the optimum of their problem; for the linear one, multinomial logistic regression on standardised features.

That problem is convex, so that its answer depends on the data and the strength of the decay alone: there is no learning
rate, no batch and no epoch to choose. The bias is free of decay and starts at the logarithm of the classes' shares: the
answer under an endless decay is the constant one, and no strength ends above its loss on the training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vizsla.models.heads import HEADS, Head
from vizsla.settings import settings
from vizsla.training import lbfgs
from vizsla.training.config import LbfgsConfig
from vizsla.training.folds import fold_of
from vizsla.training.head_data import HeadData, Rows
from vizsla.training.objective import Objective, Problem, measure
from vizsla.training.trained import EpochMetrics, OnEpoch, PathPoint, TrainedHead

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

STRENGTHS = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 3e-5, 1e-5, 3e-6, 1e-6)
"""The path: strengths of decay that are compared, on the scale of the mean cross-entropy of standardised features."""
TOGETHER = 4
"""Most strengths trained as one product; the path ends with the run in which the loss on held-out pictures turns."""
_COLUMNS = 512
"""Columns from which on a wider product is no faster: then strengths are better trained one after the other, each from
where the stronger one ended."""
ENOUGH = 300
"""Validation pictures from which on the strength is chosen by them alone."""
FOLDS = 5
HELD_OUT = 1000
"""Training pictures, at most some more, that cross-validation holds out where there are more of them."""

_COARSE = 3e-3
"""The length of the gradient, as a share of its length under the constant answer, at which strengths are compared that
start there."""
_NEAR, _FINE = 0.3, 0.01
"""The length of the gradient, as a share of the decay's part of it, at which a strength that starts from a stronger one
is compared, and at which the head that is kept has converged: no further than this share from the optimum's weights, as
the decay alone curves the problem by its strength. A length that does not shrink with the decay would be reached by the
start itself, and the path seem to have turned."""
_NOISE = 1e-5
"""What a gradient summed in float32 is worth, as a share of its length under the constant answer."""
_ITERATIONS = 300


def train_to_optimum(
    data: HeadData,
    configs: Mapping[int, LbfgsConfig],
    on_epoch: OnEpoch = lambda metrics: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, TrainedHead]:
    """Train one head for each configuration; see :func:`vizsla.training.heads.train_heads`.

    ``on_epoch`` is called once for each kind of head, with all its metrics.
    """
    trained: dict[int, TrainedHead] = {}
    with ThreadPoolExecutor(settings().threads) as threads:
        for kind in dict.fromkeys(config.head for config in configs.values()):
            own = {i: config for i, config in configs.items() if config.head == kind}
            heads = _Training(HEADS[kind], data, threads, stop).train(own)
            on_epoch({i: head.history[0] for i, head in heads.items()})
            trained |= heads
    return trained


@dataclass(frozen=True)
class _Solution:
    """Points (t, size), the mean training losses (t,) without decay, how and after what each ended."""

    points: Floats
    losses: Doubles
    endings: Sequence[lbfgs.Ending]
    iterations: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Path:
    """The strength that did best on held-out pictures, the point reached at it (size,), all that were compared."""

    strength: float
    point: Floats
    compared: tuple[PathPoint, ...]
    iterations: int


@dataclass(frozen=True)
class _Training:
    """Heads of one kind on one data set; what it is done on, and whether it is to end now."""

    kind: type[Head]
    data: HeadData
    threads: ThreadPoolExecutor
    stop: Callable[[], bool]

    def train(self, configs: Mapping[int, LbfgsConfig]) -> dict[int, TrainedHead]:
        data = self.data
        paths = {i: self._path(c) for i, c in configs.items() if c.weight_decay is None}
        chosen = {i: replace(c, weight_decay=paths[i].strength) if i in paths else c for i, c in configs.items()}
        problems = [Problem.of(data, data.train, c) for c in chosen.values()]
        near = self._near(problems, [paths[i].point if i in paths else None for i in chosen])
        solved = self._solve(data.train, problems, near, fine=True)
        valid = measure(self.kind, data, data.valid, problems, solved.points, self.threads)
        trained = {}
        for at, (i, config) in enumerate(chosen.items()):
            path = paths.get(i)
            metrics = EpochMetrics(1, float(solved.losses[at]), float(valid.plain_loss[at]), float(valid.right[at]))
            trained[i] = TrainedHead(
                config,
                self.kind.trained(solved.points[at], data.inputs.mean, data.inputs.deviation),
                best_epoch=1,
                stopped_by=solved.endings[at],
                history=[metrics],
                path=() if path is None else path.compared,
                iterations=int(solved.iterations[at]) + (0 if path is None else path.iterations),
            )
        return trained

    def _path(self, config: LbfgsConfig) -> _Path:
        """Compare the strengths, from strong to weak, until the loss on held-out pictures has turned."""
        data = self.data
        held = _held_out(data, config.seed)
        together = min(TOGETHER, max(1, _COLUMNS // data.classes))
        starts: list[Floats | None] = [None] * len(held)
        compared: list[PathPoint] = []
        best: Floats | None = None
        iterations = 0
        for begin in range(0, len(STRENGTHS), together):
            strengths = STRENGTHS[begin : begin + together]
            losses, right, pictures = np.zeros(len(strengths)), np.zeros(len(strengths)), 0
            points = np.empty(0, np.float32)
            for at, (train, test) in enumerate(held):
                problems = [Problem.of(data, train, replace(config, weight_decay=s)) for s in strengths]
                solved = self._solve(train, problems, [starts[at]] * len(strengths))
                starts[at] = solved.points[-1]
                measures = measure(self.kind, data, test, problems, solved.points, self.threads)
                losses += measures.loss * len(test)
                right += measures.right * len(test)
                pictures += len(test)
                if at == 0:
                    points = solved.points
                    iterations += int(solved.iterations.max())
            compared += [
                PathPoint(s, float(loss / max(1, pictures)), float(share / max(1, pictures)), pictures, len(held) - 1)
                for s, loss, share in zip(strengths, losses, right, strict=True)
            ]
            least = int(np.argmin([point.loss for point in compared]))
            if least >= begin:
                best = points[least - begin]
            if least < len(compared) - 1 or self.stop():
                break
        assert best is not None
        return _Path(STRENGTHS[least], best, tuple(compared), iterations)

    def _near(self, problems: Sequence[Problem], starts: Sequence[Floats | None]) -> Sequence[Floats | None]:
        """Points near each optimum, where the path has none."""
        lacking = [t for t, start in enumerate(starts) if start is None]
        if not lacking:
            return starts
        solved = self._solve(self.data.train, [problems[t] for t in lacking], [None] * len(lacking))
        near = dict(zip(lacking, solved.points, strict=True))
        return [near.get(t, start) for t, start in enumerate(starts)]

    def _solve(
        self, rows: Rows, problems: Sequence[Problem], starts: Sequence[Floats | None], *, fine: bool = False
    ) -> _Solution:
        """The optimum of each problem over ``rows``; ``fine`` from starts that are near."""
        data, everything = self.data, np.arange(len(problems))
        means = data.class_means(rows)
        first = np.stack([self.kind.start(data.log_shares(rows, problem.level), means) for problem in problems])
        objective = Objective(self.kind, data, rows, problems, self.threads)
        _, gradients = objective(first, everything)
        lengths = np.linalg.norm(gradients.astype(np.float64), axis=1)
        start = np.stack([first[t] if s is None else s for t, s in enumerate(starts)])
        own = np.array([problem.decay for problem in problems]) * objective.decayed_lengths(start)
        share = np.where(own > 0, (_FINE if fine else _NEAR) * own, np.inf)
        tolerance = np.clip(share, _NOISE * lengths, _COARSE * lengths)
        minimum = lbfgs.minimise(objective, start, tolerance=tolerance, iterations=_ITERATIONS, stop=self.stop)
        losses = minimum.values - objective.penalties(minimum.points, everything)
        return _Solution(minimum.points, losses, minimum.endings, minimum.iterations)


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
