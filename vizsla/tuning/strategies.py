"""How the next configuration is chosen, and which running ones are given up."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from vizsla.errors import UsageError
from vizsla.optional import require
from vizsla.tuning.encoding import Encoding, quasi_random
from vizsla.tuning.space import CategoricalParameter, ContinuousParameter, IntegerParameter, Space, Value

EarlyStopping = Literal["auto", "off"]

START = 8
"""Quasi-random trials before a model of the objective is trusted (benchmarks/search_quality.py)."""
_REDUCTION = 3
_MODEL_TRIALS = 200
"""More trials than this are left to TPE: the Gaussian process grows slow."""


@dataclass(frozen=True)
class Strategy:
    """A way to search.

    ``start`` gives the first configurations, ``sampler`` (an Optuna sampler, for a seed and the number of trials)
    all that follow, ``pruner`` (for the greatest number of epochs; 0 where it is not known) decides which running
    trials are hopeless.
    """

    name: str
    what: str
    start: Callable[[Space, int, int], Iterator[dict[str, Value]]]
    sampler: Callable[[int, int], Any]
    pruner: Callable[[int], Any] | None = None
    finite: bool = False
    """Whether the search ends with the last of ``start``."""


def _optuna(part: str) -> Any:
    return require(f"optuna.{part}", extra="tune", feature="Searching for hyperparameters")


def _nothing(space: Space, total: int, seed: int) -> Iterator[dict[str, Value]]:
    return iter(())


def _evenly(space: Space, total: int, seed: int) -> Iterator[dict[str, Value]]:
    encoding = Encoding(space)
    # A short search must keep some trials for what the first ones taught.
    count = min(START, max(3, (total * 2) // 5)) if total > 3 else total
    for point in quasi_random(count, len(space.parameters), seed):
        yield encoding.at(point)


def _combinations(space: Space, total: int, seed: int) -> Iterator[dict[str, Value]]:
    levels: list[tuple[Value, ...]] = []
    for name, p in space.parameters.items():
        if isinstance(p, ContinuousParameter):
            raise UsageError(
                f"A grid needs values, and {name} is a range of numbers.",
                where=f"parameter {name}",
                allowed=f"values such as {name}={p.min_value:g},{p.max_value:g}, or a range of whole numbers",
                do="list the values to try, or use another strategy",
            )
        if isinstance(p, IntegerParameter):
            levels.append(tuple(range(p.min_value, p.max_value + 1)))
        elif isinstance(p, CategoricalParameter):
            levels.append(p.values)
    for combination in itertools.product(*levels):
        yield dict(zip(space.parameters, combination, strict=True))


def _random(seed: int, total: int) -> Any:
    return _optuna("samplers").RandomSampler(seed=seed)


def _tpe(seed: int, total: int) -> Any:
    return _optuna("samplers").TPESampler(seed=seed, n_startup_trials=0, multivariate=True, constant_liar=True)


def _gp(seed: int, total: int) -> Any:
    return _optuna("samplers").GPSampler(seed=seed, n_startup_trials=0)


def _gp_or_tpe(seed: int, total: int) -> Any:
    # The Gaussian process is written in torch and scipy.
    available = all(importlib.util.find_spec(name) for name in ("torch", "scipy"))
    return _gp(seed, total) if available and total <= _MODEL_TRIALS else _tpe(seed, total)


def _halving(epochs: int) -> Any:
    return _optuna("pruners").SuccessiveHalvingPruner(min_resource=1, reduction_factor=_REDUCTION)


def _hyperband(epochs: int) -> Any:
    most: int | str = epochs or "auto"
    return _optuna("pruners").HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=_REDUCTION)


def median_pruner() -> Any:
    """SageMaker's early stopping: a trial worse than the median of the others at the same epoch is given up."""
    return _optuna("pruners").MedianPruner(n_startup_trials=5, n_warmup_steps=1)


STRATEGIES: dict[str, Strategy] = {
    s.name: s
    for s in (
        Strategy("default", "quasi-random start, then a Gaussian process (TPE in long searches)", _evenly, _gp_or_tpe),
        Strategy("tpe", "quasi-random start, then tree-structured Parzen estimators", _evenly, _tpe),
        Strategy("gp", "quasi-random start, then a Gaussian process", _evenly, _gp),
        Strategy("random", "independent draws", _nothing, _random),
        Strategy("grid", "every combination, in order", _combinations, _random, finite=True),
        Strategy("asha", "TPE; only the best third goes on after epochs 1, 3, 9, ...", _evenly, _tpe, _halving),
        Strategy("hyperband", "TPE; several successive halvings of different patience", _evenly, _tpe, _hyperband),
    )
}
_ALIASES = {"bayesian": "default", "auto": "default"}


def strategy(name: str) -> Strategy:
    """The strategy of that name; ``bayesian``, SageMaker's word, is the default one.

    Raises
    ------
    UsageError
        When there is none.
    """
    lowered = name.strip().lower()
    try:
        return STRATEGIES[_ALIASES.get(lowered, lowered)]
    except KeyError:
        raise UsageError(
            f"There is no strategy {name!r}.", parameter="strategy", allowed=", ".join([*STRATEGIES, *_ALIASES])
        ) from None


def warm_up(name: str, trials: int) -> threading.Thread:
    """Import what a strategy needs (3 seconds for the Gaussian process) while the features are computed.

    Raises
    ------
    MissingExtraError
        Without Optuna, at once.
    """
    chosen = strategy(name)
    require("optuna", extra="tune", feature="Searching for hyperparameters")
    modules = ["optuna.storages", "sqlalchemy.dialects.sqlite", "sqlalchemy.orm", "alembic.config", "alembic.script"]
    modules += ["optuna.importance"]

    def load() -> None:
        for module in modules:
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        with contextlib.suppress(Exception):  # what is wrong with the sampler, the search itself says
            _optuna("logging").set_verbosity(_optuna("logging").ERROR)
            study = _optuna("study").create_study(sampler=chosen.sampler(0, trials))
            space = {"x": _optuna("distributions").FloatDistribution(0, 1)}
            for value in (0.0, 1.0, 0.0):  # the second and third draws of a model import what it is made of
                study.tell(study.ask(space), value)

    thread = threading.Thread(target=load, name="warm-up", daemon=True)
    thread.start()
    return thread
