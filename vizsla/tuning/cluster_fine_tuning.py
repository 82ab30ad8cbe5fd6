"""Trials that train the backbone side by side on a Ray cluster: each a task, with a GPU or a share of a node's cores.

A node that dies costs the epochs since its trial's last checkpoint: Ray starts the task again elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.cluster import ON_HEAD, Node, connect, nodes, shared_variables, told
from vizsla.errors import VizslaError
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.callbacks import Callback
from vizsla.training.config import Balance
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.launcher import Launcher
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.session import Session
from vizsla.training.fine_tuning.torchrun import Torchrun
from vizsla.training.table import FeatureTable
from vizsla.training.trainer import Frozen
from vizsla.tuning.fine_tuning_runner import FineTuningRunner, TrialResult
from vizsla.tuning.fine_tuning_space import BACKBONE
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report
from vizsla.tuning.space import Value
from vizsla.tuning.study import TrialOutcome
from vizsla.tuning.trials import TrialRecord

_RESTARTS = 3
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Origin:
    """What trials begin with, on any machine: a backbone, what it says of the pictures, and where these are."""

    spec: BackboneSpec
    frozen: Frozen
    pictures: Pictures
    balance: Balance
    seed: int

    def session(
        self,
        launcher: Launcher,
        *,
        threads: int,
        callback: Callback | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> Session:
        """A session of this process."""
        return Session(
            self.spec,
            self.frozen,
            self.pictures,
            settings().cache,
            self.balance,
            self.seed,
            threads=threads,
            callback=callback or Callback(),
            on_progress=lambda done, total: None,
            note=note,
            launcher=launcher,
        )

    def everywhere(self) -> Origin:
        """The same for processes of other machines, with other working directories."""
        paths = [self.pictures.paths[row].absolute() for row in range(len(self.pictures.paths))]
        weights, data = self.spec.weights, self.frozen.data
        table = FeatureTable.of(data.table.take(np.arange(len(data.table))))
        return replace(
            self,
            spec=replace(self.spec, weights=None if weights is None else weights.absolute()),
            frozen=replace(self.frozen, data=replace(data, table=table)),
            pictures=replace(self.pictures, paths=paths),
        )


class ClusterRunner(FineTuningRunner):
    """Trains as many trials at once as the cluster has GPUs, or nodes where it has none.

    Pictures, cache and ``folder`` are seen by all nodes.

    Parameters
    ----------
    executor:
        ``ray``, or the address of a cluster.
    origin_of:
        What trials begin with, by the name of a backbone.
    session_of, base, objective, folder, static, deadline, note:
        See :class:`~vizsla.tuning.fine_tuning_runner.FineTuningRunner`.

    Raises
    ------
    JobError
        When there is no way to the cluster.
    """

    def __init__(
        self,
        executor: str,
        origin_of: Callable[[str | None], Origin],
        session_of: Callable[[str | None], Session],
        base: FineTuneConfig,
        objective: Objective,
        folder: Path,
        *,
        static: Mapping[str, Value],
        deadline: float | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        base = replace(base, processes=1)
        super().__init__(session_of, base, objective, folder, static=static, deadline=deadline, note=note)
        self._ray = ray = connect(executor if "://" in executor else None)
        self._origin = cache(lambda name: ray.put(origin_of(name).everywhere()))
        self._desk = ray.remote(_Desk).options(**ON_HEAD).remote()
        self._tasks: dict[Any, tuple[TrialRecord, Any]] = {}
        """Of the trials that run: by the reference to its outcome, that to its result."""
        self._epochs: dict[int, int] = {}
        self._leader: tuple[int, float, Any] | None = None

    def room(self, running: int, started: int, total: int) -> int:
        """As many as there are shares of the cluster left."""
        return _shares(nodes(self._ray))[2] - len(self._tasks)

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Hand trials to Ray."""
        cores, gpus, _ = _shares(nodes(self._ray))
        left = None if self._deadline is None else self._deadline - time.monotonic()
        for trial in trials:
            name = (self._static | dict(trial.params)).get(BACKBONE)
            options = {"num_cpus": cores, "num_gpus": gpus, "max_retries": _RESTARTS, "name": trial.name}
            outcome, result = (
                self._ray.remote(_train)
                .options(num_returns=2, **options)
                .remote(
                    self._origin(None if name is None else str(name)),
                    *(self._base, self._objective, str(self._folder.absolute()), self._static),
                    *(trial, left, cores, self._desk, shared_variables()),
                )
            )
            self._tasks[outcome] = trial, result

    def stop(self, reason: str) -> None:
        """End them after the epochs they are in."""
        self._stopped = reason
        self._ray.get([self._desk.end.remote(trial.number) for trial, _ in self._tasks.values()])

    def step(self, report: Report) -> list[TrialOutcome]:
        """Hand on what the trials report; those that have ended."""
        if not self._tasks:  # a cluster that has lost its nodes
            time.sleep(_LOOK_SECONDS)
            return []
        done, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=_LOOK_SECONDS)
        for number, epoch, value in self._ray.get(self._desk.take.remote()):
            if epoch > self._epochs.get(number, 0):  # started again, it comes by some once more
                self._epochs[number] = epoch
                if report(number, epoch, value):
                    self._desk.end.remote(number)
        return [self._ended(*self._tasks.pop(task), task) for task in done]

    def trained(self, trial: TrialRecord) -> TrialResult:
        if self._leader is not None and self._leader[0] == trial.number:
            result: TrialResult = self._ray.get(self._leader[2])
            return result
        return super().trained(trial)

    def close(self) -> None:
        """End what still runs."""
        for task in self._tasks:
            self._ray.cancel(task, force=True)
        self._ray.kill(self._desk)

    def _ended(self, trial: TrialRecord, result: Any, task: Any) -> TrialOutcome:
        try:
            with told(self._ray, "The cluster could not train it"):
                outcome: TrialOutcome = self._ray.get(task)
        except VizslaError as error:
            return TrialOutcome(trial.number, reason=error.what)
        if outcome.stopped and self._stopped is not None:
            return replace(outcome, reason=self._stopped)
        if outcome.value is None or outcome.stopped:
            return outcome
        leader, loser = self._leader, trial.number
        if leader is None or self._objective.better(outcome.value, leader[1]):
            self._leader = trial.number, outcome.value, result
            loser = -1 if leader is None else leader[0]
        (self._folder / f"trial-{loser}.checkpoint").unlink(missing_ok=True)  # only the best need not train again
        return outcome


class _Desk:
    """In the cluster: takes what trials report, and tells them whether to end."""

    def __init__(self) -> None:
        self._reports: list[tuple[int, int, float]] = []
        self._ending: set[int] = set()

    def report(self, number: int, epoch: int, value: float) -> bool:
        self._reports.append((number, epoch, value))
        return number in self._ending

    def take(self) -> list[tuple[int, int, float]]:
        reports, self._reports = self._reports, []
        return reports

    def end(self, number: int) -> None:
        self._ending.add(number)


def _train(
    origin: Origin,
    base: FineTuneConfig,
    objective: Objective,
    folder: str,
    static: Mapping[str, Value],
    trial: TrialRecord,
    left: float | None,
    cores: int,
    desk: Any,
    variables: Mapping[str, str],
) -> tuple[TrialOutcome, TrialResult | None]:
    """One trial, on its node."""
    import ray

    os.environ.update(variables)
    os.environ["VIZSLA_THREADS"] = str(cores)
    runner = FineTuningRunner(
        cache(lambda name: origin.session(Torchrun(), threads=cores)),
        base,
        objective,
        Path(folder),
        static=static,
        deadline=None if left is None else time.monotonic() + left,
    )
    runner.start([trial])
    (outcome,) = runner.step(lambda number, epoch, value: bool(ray.get(desk.report.remote(number, epoch, value))))
    result = runner.best
    if result is not None:
        weights = {name: tensor.cpu() for name, tensor in result.weights.items()}
        result = replace(result, weights=weights)
    return outcome, result


def _shares(there: Sequence[Node]) -> tuple[int, int, int]:
    """Cores and GPUs of a trial, and how many there is room for: a GPU each, or as many cores as leave room for as many
    trials as there are nodes."""
    if gpus := sum(node.gpus for node in there):
        return max(1, min(node.cpus // node.gpus for node in there if node.gpus)), 1, gpus
    cores = [node.cpus for node in there if node.cpus]
    for each in range(max(cores, default=1), 0, -1):
        if (room := sum(count // each for count in cores)) >= len(cores):
            return each, 0, room
    return 1, 0, 0
