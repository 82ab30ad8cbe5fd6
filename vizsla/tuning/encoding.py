"""A space as the search algorithms see it, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.jobs.hyperparameters import is_number
from vizsla.optional import require
from vizsla.tuning.space import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
    Space,
    Value,
    own_value,
)


class Encoding:
    """Turns a space's values into those of Optuna's distributions and back.

    Two things differ: three or more numbers to choose from are searched by their rank, because 32 is closer to 64
    than to 512; and a reverse-logarithmic parameter is searched as 1 - value, in the logarithm.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._ranks = {
            name: tuple(sorted(p.values, key=float))
            for name, p in space.parameters.items()
            if isinstance(p, CategoricalParameter) and len(p.values) > 2 and all(map(_is_number, p.values))
        }

    def distributions(self) -> dict[str, Any]:
        """The distributions that a sampler works on."""
        d = require("optuna.distributions", extra="tune", feature="Searching for hyperparameters")
        distributions: dict[str, Any] = {}
        for name, p in self.space.parameters.items():
            if name in self._ranks:
                distributions[name] = d.IntDistribution(0, len(self._ranks[name]) - 1)
            elif isinstance(p, ContinuousParameter) and p.scaling == "ReverseLogarithmic":
                distributions[name] = d.FloatDistribution(1 - p.max_value, 1 - p.min_value, log=True)
            else:
                distributions[name] = _plain(d, p)
        return distributions

    def stored(self) -> dict[str, Any]:
        """The distributions that are stored: of the values as the person knows them."""
        d = require("optuna.distributions", extra="tune", feature="Searching for hyperparameters")
        return {name: _plain(d, p) for name, p in self.space.parameters.items()}

    def encode(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The person's values as the sampler's."""
        encoded: dict[str, Value] = {}
        for name, p in self.space.parameters.items():
            value = values[name]
            if name in self._ranks:
                encoded[name] = self._ranks[name].index(value)
            elif isinstance(p, ContinuousParameter):
                number = float(value)
                # 1 - (1 - x) is not always x: stay within the ends.
                ends = 1 - p.max_value, 1 - p.min_value
                encoded[name] = min(max(1 - number, ends[0]), ends[1]) if _reversed(p) else number
            else:
                encoded[name] = value
        return encoded

    def decode(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """The sampler's values as the person's."""
        decoded: dict[str, Value] = {}
        for name, p in self.space.parameters.items():
            value = values[name]
            if name in self._ranks:
                decoded[name] = self._ranks[name][int(value)]
            elif isinstance(p, ContinuousParameter):
                decoded[name] = _within(p, 1 - value if _reversed(p) else value)
            else:
                decoded[name] = value
        return decoded

    def at(self, point: Sequence[float]) -> dict[str, Value]:
        """The values at a point of the unit cube, one coordinate in [0, 1) a parameter."""
        point_values: dict[str, Value] = {}
        for (name, p), u in zip(self.space.parameters.items(), point, strict=True):
            u = float(u)
            if isinstance(p, CategoricalParameter):
                values = self._ranks.get(name, p.values)
                point_values[name] = values[min(int(u * len(values)), len(values) - 1)]
            elif isinstance(p, IntegerParameter):
                low, high = p.min_value - 0.5, p.max_value + 0.5
                spread = low * (high / low) ** u if p.scaling == "Logarithmic" else low + u * (high - low)
                point_values[name] = min(max(round(spread), p.min_value), p.max_value)
            else:
                point_values[name] = _within(p, _spread(p, u))
        return point_values


def quasi_random(count: int, dimensions: int, seed: int) -> npt.NDArray[np.float64]:
    """Points that fill the unit cube evenly however many are taken, of shape (count, dimensions).

    The R sequence of Roberts (The unreasonable effectiveness of quasirandom sequences, 2018), shifted by chance. A
    Latin hypercube of the same size was measured to be no better on any of the stored problems and worse on three
    (benchmarks/search_quality.py).
    """
    root = 2.0
    for _ in range(64):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1, dimensions + 1)
    shift = np.random.default_rng(seed).random(dimensions)
    points: npt.NDArray[np.float64] = (shift + np.arange(1, count + 1)[:, None] * steps) % 1
    return points


def _plain(d: Any, p: Parameter) -> Any:
    if isinstance(p, CategoricalParameter):
        return d.CategoricalDistribution(p.values)
    kind = d.IntDistribution if isinstance(p, IntegerParameter) else d.FloatDistribution
    return kind(p.min_value, p.max_value, log=p.scaling == "Logarithmic")


def _spread(p: ContinuousParameter, u: float) -> float:
    low, high = p.min_value, p.max_value
    if p.scaling == "Logarithmic":
        return math.exp(math.log(low) + u * math.log(high / low))
    if p.scaling == "ReverseLogarithmic":
        return 1 - math.exp(math.log(1 - high) + u * math.log((1 - low) / (1 - high)))
    return low + u * (high - low)


def _within(p: ContinuousParameter, value: float) -> float:
    return float(min(max(value, p.min_value), p.max_value))


def _reversed(p: ContinuousParameter) -> bool:
    return p.scaling == "ReverseLogarithmic"


def _is_number(value: Value) -> bool:
    """Also of a text that is one in a spelling of its own, such as 1e-3."""
    return is_number(own_value(value))
