"""Trials that are heads on cached features: all asked ones train together as one batched product."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vizsla.errors import UsageError
from vizsla.training import config as configs
from vizsla.training.config import HYPERPARAMETERS, HeadConfig, StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.trained import EpochMetrics, TrainedHead
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report
from vizsla.tuning.space import CategoricalParameter, Space, Value, own_space, own_value
from vizsla.tuning.strategies import START
from vizsla.tuning.study import TrialOutcome
from vizsla.tuning.trials import TrialRecord

LONG = 64
GENERATIONS = 4
"""A search of more than ``LONG`` trials has so many generations: few enough to batch, enough to learn from the last."""
SMALL = 2
"""The least generation after the first (benchmarks/search_quality.py: two lose nothing against one)."""
_NAMES = {"learning_rate": "lr", "wd": "weight_decay", "batch": "batch_size"}
_WEIGHT_BYTES = 64_000_000
"""Weights trained as one product: more would only wait for memory."""


def head_name(name: str) -> str:
    """The hyperparameter that a name means: ``batch-size`` is ``batch_size``, ``learning_rate`` is ``lr``."""
    plain = name.replace("-", "_").lower()
    return _NAMES.get(plain, plain)


def head_config(base: HeadConfig, values: Mapping[str, Value]) -> HeadConfig:
    """``base`` with ``values`` in their place; of values for an optimizer without steps, those that it has.

    Raises
    ------
    UsageError
        For a name that is no hyperparameter, or a value that cannot be used.
    """
    return configs.head_config(hyperparameters(effective(values)), base)


def effective(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values less those that their optimizer does not have: a search over several optimizers names them, too.

    Examples
    --------
    >>> effective({"optimizer": "lbfgs", "learning_rate": 0.1, "weight_decay": 0.01})
    {'optimizer': 'lbfgs', 'weight_decay': 0.01}
    """
    optimizer = {head_name(name): value for name, value in values.items()}.get("optimizer")
    without = StepConfig.ONLY if str(optimizer).lower() == "lbfgs" else ()
    return {name: value for name, value in values.items() if head_name(name) not in without}


def hyperparameters(values: Mapping[str, Value]) -> dict[str, Any]:
    """The values by the hyperparameters' own names.

    Raises
    ------
    UsageError
        For a name that is no hyperparameter, or two that are one.
    """
    changes: dict[str, Any] = {}
    for name, value in values.items():
        own = head_name(name)
        if own not in HYPERPARAMETERS or own == "seed":
            allowed = ", ".join(n for n in HYPERPARAMETERS if n != "seed")
            close = difflib.get_close_matches(own, HYPERPARAMETERS, 1)
            raise UsageError(
                f"There is no hyperparameter {name!r}.",
                where=f"parameter {name}",
                allowed=allowed,
                do=f"did you mean {close[0]!r}?" if close else None,
            )
        if own in changes:
            raise UsageError(f"{name!r} and another name mean {own}.", where=f"parameter {name}", do="name it once")
        if own in ("optimizer", "balance") and isinstance(value, str):
            value = value.lower()
        changes[own] = value
    return changes


def check_space(base: HeadConfig, space: Space) -> HeadConfig:
    """That every value the space holds can be trained with.

    Returns
    -------
    One of the configurations that the space holds.

    Raises
    ------
    UsageError
        For the first that cannot; the message names the parameter.
    """
    fixed = dict(space.static)
    for name, p in space.parameters.items():
        values = p.values if isinstance(p, CategoricalParameter) else (p.min_value, p.max_value)
        for value in values:
            head_config(base, fixed | {name: value})
    _check_optimizers(base, space)
    return head_config(base, {name: _some(space.parameters[name]) for name in space.parameters} | fixed)


def _check_optimizers(base: HeadConfig, space: Space) -> None:
    """That what some optimizers have is searched only where one of them is."""
    searched = {head_name(name): name for name in space.parameters}
    if "optimizer" in searched:
        p = space.parameters[searched["optimizer"]]
        optimizers = {str(v).lower() for v in (p.values if isinstance(p, CategoricalParameter) else ())}
    else:
        static = hyperparameters(space.static)
        steps = [name for name in searched if name in StepConfig.ONLY and name not in static]
        optimizers = {static.get("optimizer") or ("adamw" if steps and base.optimizer == "lbfgs" else base.optimizer)}
    for name in StepConfig.ONLY:
        owners = {"sgd"} if name in ("momentum", "nesterov") else {"sgd", "adam", "adamw"}
        if name in searched and not optimizers & owners:
            one = sorted(owners)[-1]
            raise UsageError(
                f"{name} is searched, and no optimizer of this search has it: {', '.join(sorted(optimizers))}.",
                where=f"parameter {searched[name]}",
                allowed=f"with optimizer={one}, or {one} among the optimizers searched",
                do=f"add optimizer={one}, or leave it out",
            )


_USUAL = {"lr": "0.0001..0.03:log", "weight_decay": "0.0001..1:log", "batch_size": "32,64,128,256", "balance": "none"}


def default_space(fixed: Mapping[str, Value] | None = None) -> Space:
    """What is searched where no range is named: what decides a linear head on frozen features, less what is fixed.

    Raises
    ------
    UsageError
        When ``fixed`` leaves nothing of it.

    Examples
    --------
    >>> list(default_space({"learning_rate": 0.01}).parameters)
    ['weight_decay', 'batch_size']
    """
    fixed = dict(fixed or {})
    by_name = {head_name(name): value for name, value in fixed.items()}
    without = set(by_name)
    if by_name.get("optimizer") == "lbfgs" or by_name.get("head", "linear") != "linear":
        without |= set(StepConfig.ONLY)  # these heads are not trained in steps
    rest = {name: text for name, text in _USUAL.items() if name not in without}
    if not set(rest) - {"balance"}:
        raise UsageError(
            f"Nothing is left to search: {', '.join(fixed)} are fixed.",
            where="hyperparameters",
            do="leave one of them out, or name a range, such as lr=0.001..0.1:log",
        )
    usual = Space.of(rest)
    return Space(usual.parameters, dict(usual.static) | fixed)


def head_space(space: Space | None, fixed: Mapping[str, Any]) -> Space | None:
    """The space of a search for heads, beside hyperparameters that stay the same in every trial.

    None is the default one, of which those are then left out; a ``space`` that names one of them, too, is refused.

    Raises
    ------
    UsageError
        When one comes twice, or nothing is left to search.
    """
    values = {
        name: "none" if head_name(name) == "patience" and value is None else own_value(value)
        for name, value in fixed.items()
    }
    values = {name: value for name, value in values.items() if value is not None}  # None: to be chosen
    if space is None:
        return default_space(values) if values else None
    named = {head_name(name) for name in (*space.parameters, *space.static)}
    if both := [name for name in values if head_name(name) in named]:
        raise UsageError(f"Parameter {both[0]!r} comes twice.", where="hyperparameters", do="name it once")
    return own_space(Space(space.parameters, dict(space.static) | values))


def generation(started: int, total: int) -> int:
    """How many trials train together, when ``started`` of ``total`` were started before."""
    large = total // GENERATIONS if total > LONG else 0
    return max(START if started == 0 else SMALL, large)


@dataclass(frozen=True)
class _Member:
    """One head of a trial: a trial has one for each seed."""

    trial: TrialRecord
    config: HeadConfig


class HeadsRunner:
    """Trains generations of heads.

    Parameters
    ----------
    base:
        The hyperparameters that are not searched.
    static:
        Fixed values in place of ``base``'s.
    seeds:
        Heads trained for each trial, with the seeds that follow ``base.seed``; the objective is their mean.
    """

    def __init__(
        self,
        data: HeadData,
        base: HeadConfig,
        objective: Objective,
        *,
        static: Mapping[str, Value] | None = None,
        seeds: int = 1,
    ) -> None:
        self._data, self._objective, self._seeds = data, objective, seeds
        self._base = head_config(base, static or {})
        self._waiting: list[TrialRecord] = []
        self._stopped: str | None = None

    def room(self, running: int, started: int, total: int) -> int:
        """The whole next generation, once the last one has ended."""
        if running or self._waiting:
            return 0
        return generation(started, total)

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Train these in the next :meth:`step`."""
        self._waiting += trials

    def stop(self, reason: str) -> None:
        """End the trials after their next epoch."""
        self._stopped = reason

    def step(self, report: Report) -> list[TrialOutcome]:
        """Train what waits."""
        trials, self._waiting = self._waiting, []
        size = (self._data.table.features + 1) * self._data.classes * 4
        together = max(1, int(_WEIGHT_BYTES // size) // self._seeds)
        outcomes: list[TrialOutcome] = []
        for start in range(0, len(trials), together):
            outcomes += self._train(trials[start : start + together], report)
        return outcomes

    def _train(self, trials: Sequence[TrialRecord], report: Report) -> list[TrialOutcome]:
        # All heads of the first seed come first: what is given up there is not trained with the others.
        members = [
            _Member(trial, replace(head_config(self._base, trial.params), seed=self._base.seed + seed))
            for seed in range(self._seeds)
            for trial in trials
        ]
        given_up: set[int] = set()

        def on_epoch(metrics: dict[int, EpochMetrics]) -> list[int]:
            for at, m in metrics.items():
                number = members[at].trial.number
                if at < len(trials) and report(number, m.epoch, getattr(m, self._objective.metric)):
                    given_up.add(number)
            if self._stopped:
                given_up.update(members[at].trial.number for at in metrics)
            return [at for at in metrics if members[at].trial.number in given_up]

        with np.errstate(all="ignore"):  # a learning rate that is too high is an answer, not an accident
            trained = train_heads(self._data, [m.config for m in members], on_epoch)
        return [
            self._outcome(trial, trained[at :: len(trials)], trial.number in given_up)
            for at, trial in enumerate(trials)
        ]

    def _outcome(self, trial: TrialRecord, heads: Sequence[TrainedHead], given_up: bool) -> TrialOutcome:
        values = [kept_value(head, self._objective.metric) for head in heads]
        first = heads[0]
        pictures = sum(h.iterations or len(h.history) for h in heads) * len(self._data.train)
        unfinished = given_up and isinstance(first.config, StepConfig) and len(first.history) < first.config.epochs
        metrics = {name: kept_value(first, name) for name in ("valid_loss", "valid_accuracy", "train_loss")}
        if len(values) > 1:
            metrics["objective_sd"] = float(np.std(values, ddof=1))
        return TrialOutcome(
            trial.number,
            value=float(np.mean(values)),
            stopped=unfinished,
            reason=(self._stopped or "no better than the others at this epoch") if unfinished else None,
            cost=pictures / len(heads),
            metrics=metrics | {"best_epoch": float(first.best_epoch)},
        )


def kept_value(trained: TrainedHead, metric: str) -> float:
    """A metric at the epoch whose weights were kept."""
    return float(getattr(trained.best, metric))


def _some(p: Any) -> Value:
    return p.values[0] if isinstance(p, CategoricalParameter) else p.min_value
