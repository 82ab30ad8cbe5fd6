"""Trials that are heads on cached features: all asked ones train together as one batched product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vizsla.training.config import HeadConfig, StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.trained import EpochMetrics, TrainedHead
from vizsla.tuning.head_space import head_config
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report
from vizsla.tuning.space import Value
from vizsla.tuning.strategies import START
from vizsla.tuning.study import TrialOutcome
from vizsla.tuning.trials import TrialRecord

LONG = 64
GENERATIONS = 4
"""A search of more than ``LONG`` trials has so many generations: few enough to batch, enough to learn from the last."""
SMALL = 2
"""The least generation after the first (benchmarks/search_quality.py: two lose nothing against one)."""
_WEIGHT_BYTES = 64_000_000
"""Weights trained as one product: more would only wait for memory."""


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
        values = [best_value(head, self._objective.metric) for head in heads]
        first = heads[0]
        pictures = sum(h.iterations or len(h.history) for h in heads) * len(self._data.train)
        unfinished = given_up and isinstance(first.config, StepConfig) and len(first.history) < first.config.epochs
        metrics = {name: best_value(first, name) for name in ("valid_loss", "valid_accuracy", "train_loss")}
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


def best_value(trained: TrainedHead, metric: str) -> float:
    """A metric at the epoch whose weights were kept."""
    return float(getattr(trained.best, metric))
