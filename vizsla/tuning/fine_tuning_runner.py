"""Trials that train the backbone, one after the other on all cores: they share pixels and activations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.errors import VizslaError
from vizsla.training.callbacks import Callback, Callbacks, Deadline
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.session import Session, Weights
from vizsla.training.trained import EpochMetrics, Stop, TrainedHead
from vizsla.tuning.fine_tuning_space import BACKBONE, fine_tune_config
from vizsla.tuning.heads_runner import best_value
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report
from vizsla.tuning.space import Value
from vizsla.tuning.study import TrialOutcome
from vizsla.tuning.trials import TrialRecord

CHECKPOINTS = "trial-*.checkpoint"


@dataclass(frozen=True)
class TrialResult:
    """What a trial ended with: its head, its answers (n, classes) to the validation pictures, and the weights."""

    head: TrainedHead
    logits: npt.NDArray[np.float32]
    weights: Weights


class FineTuningRunner:
    """Trains one trial a time, each from a frozen backbone and its head.

    Parameters
    ----------
    session_of:
        The session of a backbone by its name; None for the one of all trials.
    base:
        The hyperparameters that are not searched.
    static:
        Fixed values in place of ``base``'s.
    folder:
        For the checkpoints of the trial that runs and of the best one: after a kill the one goes on, and the other need
        not train again.
    deadline:
        A moment of ``time.monotonic()`` at which a trial ends within an epoch.
    """

    def __init__(
        self,
        session_of: Callable[[str | None], Session],
        base: FineTuneConfig,
        objective: Objective,
        folder: Path,
        *,
        static: Mapping[str, Value],
        deadline: float | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._session_of, self._objective, self._folder, self._note = session_of, objective, folder, note
        self._base, self._static, self._deadline = base, dict(static), deadline
        self._weights: dict[Session, Weights] = {}
        self._waiting: list[TrialRecord] = []
        self._stopped: str | None = None
        self._best: tuple[int, float, TrialResult] | None = None
        self._checkpoints: dict[int, Checkpoint] = {}

    def room(self, running: int, started: int, total: int) -> int:
        """One, once the last one has ended."""
        return 0 if running or self._waiting else 1

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Train these in the next steps."""
        self._waiting += trials

    def stop(self, reason: str) -> None:
        """End what waits."""
        self._stopped = reason

    def step(self, report: Report) -> list[TrialOutcome]:
        """Train the next trial to its end."""
        if not self._waiting:
            return []
        trial = self._waiting.pop(0)
        if self._stopped is not None:
            return [TrialOutcome(trial.number, stopped=True, reason=self._stopped)]
        began = time.monotonic()
        reports = _Reports(trial.number, self._objective.metric, report)
        try:
            trained = self._train(trial.params, trial.number, Callbacks([reports, Deadline(self._deadline)]))
        except VizslaError as error:
            return [TrialOutcome(trial.number, reason=error.what, cost=time.monotonic() - began)]
        return [self._outcome(trial, trained, time.monotonic() - began)]

    @property
    def best(self) -> TrialResult | None:
        """What the best of the trials that have run here ended with."""
        return None if self._best is None else self._best[2]

    def trained(self, trial: TrialRecord) -> TrialResult:
        """What a trial ended with: kept, or, where another process has run it, of its checkpoint, or else trained
        again to the same bits."""
        if self._best is not None and self._best[0] == trial.number:
            return self._best[2]
        return self._train(trial.params, trial.number, Callback())

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _train(self, params: Mapping[str, Value], number: int, callback: Callback) -> TrialResult:
        values = self._static | dict(params)
        name, config = values.get(BACKBONE), fine_tune_config(self._base, values).resolved()
        session = self._session_of(None if name is None else str(name))
        config = replace(config, processes=session.launcher.processes(config))
        session.weights = self._weights.setdefault(session, session.weights)
        path = self._folder / f"trial-{number}.checkpoint"
        self._checkpoints[number] = Checkpoint(path, session.identity(config, 0), self._note, unit="step")
        head, logits = session.train(config, session.head, callback, self._checkpoints[number], [])
        return TrialResult(head, logits, session.weights)

    def _keep_only_best(self) -> None:
        """Remove the checkpoints of this process's trials that are not the best."""
        best = None if self._best is None else self._best[0]
        for number in [number for number in self._checkpoints if number != best]:
            self._checkpoints.pop(number).remove()

    def _outcome(self, trial: TrialRecord, trained: TrialResult, seconds: float) -> TrialOutcome:
        head = trained.head
        reason = None if head.stop is None else head.stop.reason
        if not head.history:
            return TrialOutcome(trial.number, stopped=True, reason=reason, cost=seconds)
        value = best_value(head, self._objective.metric)
        if head.stop is None and self._objective.better(value, None if self._best is None else self._best[1]):
            self._best = trial.number, value, trained
        self._keep_only_best()
        metrics = {name: best_value(head, name) for name in ("valid_loss", "valid_accuracy", "train_loss")}
        return TrialOutcome(
            trial.number,
            value,
            stopped=head.stop is not None,
            reason=reason,
            cost=seconds,
            metrics=metrics | {"best_epoch": float(head.best_epoch)},
        )


class _Reports(Callback):
    """Tells the search each epoch's objective, and ends the trial that it gives up."""

    def __init__(self, number: int, metric: str, report: Report) -> None:
        self._number, self._metric, self._report = number, metric, report

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        if not self._report(self._number, metrics.epoch, getattr(metrics, self._metric)) or metrics.epoch == epochs:
            return None
        return Stop("search", "no better than the others at this epoch")
