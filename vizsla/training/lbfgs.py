"""Several smooth convex problems of one shape, minimised side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

Evaluate = Callable[[Floats, Ids], tuple[Doubles, Floats]]
"""Points (a, p) of some problems, and which these are (a,): their values (a,) and gradients (a, p)."""

Ending = Literal["convergence", "precision", "iterations", "watcher"]

MEMORY = 8
"""Pairs of steps and changes of the gradient that are remembered."""
_DECREASE = 1e-4
_NOISE = 2e-7
"""What a value in float32 may be off by, as a share of it."""
_HALVINGS = 20


@dataclass
class Minimum:
    """The points (t, p) that were reached, their ``values`` (t,), why each problem ended and after how many
    iterations."""

    points: Floats
    values: Doubles
    endings: list[Ending]
    iterations: npt.NDArray[np.int64]


def minimise(
    evaluate: Evaluate,
    start: Floats,
    *,
    tolerance: Doubles,
    iterations: int,
    stop: Callable[[], bool] = lambda: False,
) -> Minimum:
    """Minimise t problems, (t, p), each by its own limited-memory BFGS steps.

    A problem that has ended is evaluated no more. Source: Nocedal and Wright, Numerical Optimization, 2nd edition,
    algorithms 7.4 and 7.5; steps are halved until Armijo's condition holds (equation 3.4), which is enough where the
    problem is convex: the curvature along a step is then positive.

    Parameters
    ----------
    tolerance:
        The length of the gradient at which a problem has converged, (t,).
    iterations:
        Most iterations.
    stop:
        Asked before each iteration; the points that were reached stand when it says so.

    Examples
    --------
    >>> minimise(lambda x, at: (((x - 3.0) ** 2).sum(axis=1, dtype=float), 2 * (x - 3)), np.zeros((1, 2), np.float32),
    ...          tolerance=np.array([1e-3]), iterations=50).points.round(2).tolist()
    [[3.0, 3.0]]
    """
    count = len(start)
    points = start.copy()
    values, gradients = evaluate(points, np.arange(count))
    histories = [_History() for _ in range(count)]
    endings: list[Ending] = ["iterations"] * count
    done = np.zeros(count, np.int64)
    active = _unfinished(np.arange(count), gradients, tolerance, endings)
    for _ in range(iterations):
        if not len(active):
            break
        if stop():
            for t in active:
                endings[t] = "watcher"
            break
        directions = np.stack([-histories[t].times(gradients[t]) for t in active])
        slopes = np.array([_dot(d, gradients[t]) for d, t in zip(directions, active, strict=True)])
        going, taken, reached, change = _search(evaluate, points, values, active, directions, slopes)
        for t in set(active.tolist()) - set(going.tolist()):
            endings[t] = "precision"
        for at, t in enumerate(going):
            histories[t].add(taken[at] - points[t], change[at] - gradients[t])
            points[t], values[t], gradients[t] = taken[at], reached[at], change[at]
            done[t] += 1
        active = _unfinished(going, gradients, tolerance, endings)
    return Minimum(points, values, endings, done)


def _unfinished(active: Ids, gradients: Floats, tolerance: Doubles, endings: list[Ending]) -> Ids:
    near = np.array([_dot(gradients[t], gradients[t]) ** 0.5 <= tolerance[t] for t in active], bool)
    for t in active[near]:
        endings[t] = "convergence"
    going: Ids = active[~near]
    return going


def _search(
    evaluate: Evaluate, points: Floats, values: Doubles, active: Ids, directions: Floats, slopes: Doubles
) -> tuple[Ids, Floats, Doubles, Floats]:
    """The problems for which a step was found, their new points, values and gradients."""
    taken = points[active] + directions
    reached, gradients = evaluate(taken, active)
    length = np.ones(len(active))
    for _ in range(_HALVINGS):
        bound = values[active] + _DECREASE * length * slopes + _NOISE * np.abs(values[active])
        high = np.flatnonzero(~(reached <= bound))
        if not len(high):
            break
        length[high] /= 2
        taken[high] = points[active[high]] + length[high, None].astype(np.float32) * directions[high]
        reached[high], gradients[high] = evaluate(taken[high], active[high])
    # A step that changes nothing that float32 can tell is the end.
    moved = (reached < values[active]) | (length == 1)
    moved &= np.isfinite(reached) & (slopes < 0)
    return active[moved], taken[moved], reached[moved], gradients[moved]


class _History:
    """The last steps of one problem, and the inverse Hessian that they tell of."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Floats, Floats, float]] = deque(maxlen=MEMORY)

    def add(self, step: Floats, change: Floats) -> None:
        curvature = _dot(step, change)
        if curvature > 1e-10 * _dot(change, change):
            self._pairs.append((step, change, curvature))

    def times(self, gradient: Floats) -> Floats:
        """The inverse Hessian times the gradient; without a history, a step of length 1 along it."""
        q = gradient.copy()
        if not self._pairs:
            q *= np.float32(1 / max(_dot(q, q) ** 0.5, 1e-30))
            return q
        shares = []
        for step, change, curvature in reversed(self._pairs):
            share = _dot(step, q) / curvature
            shares.append(share)
            q -= np.float32(share) * change
        step, change, curvature = self._pairs[-1]
        q *= np.float32(curvature / _dot(change, change))
        for (step, change, curvature), share in zip(self._pairs, reversed(shares), strict=True):
            q += np.float32(share - _dot(change, q) / curvature) * step
        return q


def _dot(a: Floats, b: Floats) -> float:
    return float(np.dot(a, b))
