"""Trials that are jobs: full trainings and users' scripts, side by side as the machine holds them."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, UsageError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Cursor, Handle, MetricEvent, StatusEvent
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.handover import GRACE_SECONDS
from vizsla.jobs.hyperparameters import encoded
from vizsla.jobs.scrape import no_value
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.parameters import spelled
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report
from vizsla.tuning.space import Value
from vizsla.tuning.study import TrialOutcome
from vizsla.tuning.trials import TrialRecord

_PAUSES = (0.01, 0.1)
"""Seconds between polls: short after something happened, longer while nothing does."""
_REST = 3.0
"""Times what a look at all jobs took, until the next: hundreds of them take a quarter of a core."""
_NAMED_NUMBER = re.compile(r"(?<![\w./-])([A-Za-z][\w ./-]{0,40}?)\s*[:=]\s*[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_FILE = re.compile(r"[./]\w*\.[A-Za-z]\w{0,3}$|^\w+\.py$")
"""The end of a file's name before the number of a line."""
_LOG_BYTES = 200_000


@dataclass
class _TrialJob:
    trial: TrialRecord
    handle: Handle
    values: list[float] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)
    given_up: str | None = None


class JobsRunner:
    """Runs each trial as a job through the executor; a trial's job has the trial's name.

    The objective is the last value that a trial reports, as SageMaker takes it.

    Parameters
    ----------
    spec:
        The job without the searched hyperparameters.
    parent:
        The tuning job's name, kept in each trial's ``job.json``.
    study:
        The study's ``id``: only its own jobs are taken over.
    """

    def __init__(
        self,
        executor: Executor,
        spec: TrainingJobSpec,
        objective: Objective,
        parent: str,
        *,
        study: str,
        static: Mapping[str, Value] | None = None,
    ) -> None:
        self._study = study
        self._executor, self._spec, self._objective, self._parent = executor, spec, objective, parent
        self._static = dict(static or {})
        self._running: dict[str, _TrialJob] = {}
        self._since: Cursor | None = None
        self._pause, self._due = _PAUSES[0], 0.0
        self._objective_seen = False
        self._unknown: UsageError | None = None

    def room(self, running: int, started: int, total: int) -> int:
        """As many as the free CPUs and GPUs hold."""
        capacity = self._executor.capacity()
        if capacity.waiting or self._unknown is not None:
            return 0
        cpus, gpus = self._spec.resource_config.share(*capacity.machine)
        room = capacity.free_cpus // cpus
        return min(room, capacity.free_gpus // gpus) if gpus else room

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Submit the trials' jobs; a job of this search that is there already is taken over or gone on with.

        Raises
        ------
        JobError
            When a job of a trial's name belongs to something else.
        """
        for trial in trials:
            path = self._executor.home.absolute() / trial.name
            spec = self._spec_of(trial)
            if path.is_dir():
                handle = self._take_over(path, trial, spec)
            else:
                handle = self._executor.submit(spec, trial.name, parent=self._parent)
            self._running[trial.name] = _TrialJob(trial, handle)

    def step(self, report: Report) -> list[TrialOutcome]:
        """Look once at all running jobs."""
        self.check()
        time.sleep(max(0.0, self._due - time.monotonic()))
        began = time.monotonic()
        poll = self._executor.poll([r.handle for r in self._running.values()], self._since)
        self._due = time.monotonic() + _REST * (time.monotonic() - began)
        self._since = poll.since
        outcomes, quiet = [], True
        for event in poll.events:
            running = self._running.get(event.job)
            if running is None:
                continue
            if isinstance(event, MetricEvent):
                quiet = False
                self._metric(running, event.metric.name, event.metric.value, report)
            elif isinstance(event, StatusEvent) and event.state.has_ended:
                quiet = False
                outcomes.append(self._outcome(running, event.state))
                del self._running[event.job]
        self._pause = min(self._pause * 1.3, _PAUSES[1]) if quiet else _PAUSES[0]
        if not outcomes:
            time.sleep(self._pause)
        return outcomes

    def check(self) -> None:
        """End all when a trial has shown that the objective is never reported.

        Raises
        ------
        UsageError
            With the names that stand before numbers in that trial's log.
        """
        if self._unknown is not None:
            self.end("another trial showed that the objective is never reported")
            raise self._unknown

    def stop(self, reason: str) -> None:
        """Ask all running jobs to end."""
        for running in self._running.values():
            self._give_up(running, reason)

    def _spec_of(self, trial: TrialRecord) -> TrainingJobSpec:
        values = encoded(self._static | dict(trial.params))
        return self._spec.model_copy(
            update={
                "training_job_name": trial.name,
                "hyper_parameters": dict(self._spec.hyper_parameters) | values,
                "experiment_config": {"ExperimentName": self._study, "TrialName": trial.name},
            }
        )

    def _take_over(self, path: Path, trial: TrialRecord, spec: TrainingJobSpec) -> Handle:
        if JobDirectory.open(path).document != spec.to_dict():
            raise JobError(
                f"The job {path.name!r} is there already and is not this search's trial {trial.number}.",
                where=path,
                do=f"remove it by `vizsla jobs rm {path.name}`, or start a new search",
            )
        handle = Handle(path.name, path)
        try:
            return self._executor.resume(handle)
        except JobError:
            if JobDirectory(path).state.status == "Completed":
                return handle
            raise

    def _metric(self, running: _TrialJob, name: str, value: float, report: Report) -> None:
        if name != self._objective.metric:
            running.others[name] = value
            return
        self._objective_seen = True
        running.values.append(value)
        if report(running.trial.number, len(running.values), value) and running.given_up is None:
            self._give_up(running, "no better than the others at this epoch")

    def _give_up(self, running: _TrialJob, reason: str) -> None:
        running.given_up = reason
        self._executor.stop(running.handle, GRACE_SECONDS, reason)

    def end(self, reason: str) -> None:
        """Stop all jobs and wait for their end."""
        self.stop(reason)
        while self._running:
            poll = self._executor.poll([r.handle for r in self._running.values()], self._since)
            self._since = poll.since
            for event in poll.events:
                if isinstance(event, StatusEvent) and event.state.has_ended:
                    self._running.pop(event.job, None)
            time.sleep(_PAUSES[0])

    def _outcome(self, running: _TrialJob, state: State) -> TrialOutcome:
        trial, value = running.trial, running.values[-1] if running.values else None
        facts: dict[str, Any] = {"cost": _seconds(state), "metrics": running.others}
        if state.status == "Stopped":
            return TrialOutcome(trial.number, value, stopped=True, reason=running.given_up or state.reason, **facts)
        if state.status == "Failed":
            return TrialOutcome(trial.number, reason=_reason(running.handle, state), **facts)
        if value is None:
            seen = sorted({*running.others, *named_numbers(running.handle.path / "logs.txt")})
            what = f"The objective {self._objective.metric!r} is not among the metrics in the log"
            matched = state.missing_metrics.get(self._objective.metric)
            what += "" if matched is None else f": {no_value(matched)}"
            if not self._objective_seen:
                self._unknown = UsageError(
                    what + ".",
                    where=running.handle.path / "logs.txt",
                    allowed=f"what was seen there: {', '.join(seen) or 'nothing that looks like NAME: NUMBER'}",
                    do=f"correct {spelled('metrics', {self._objective.metric: 'REGEX'})} (the regular expression "
                    "needs a group around the number)",
                )
            return TrialOutcome(trial.number, reason=what, **facts)
        return TrialOutcome(trial.number, value, **facts)


def named_numbers(log: Path, most: int = 12) -> list[str]:
    """Names that stand before a number in a log (``accuracy: 0.9``), the most frequent first."""
    try:
        with open(log, "rb") as file:
            text = file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    counts: dict[str, int] = {}
    for line in text.splitlines():
        for match in _NAMED_NUMBER.finditer(line[:1000]):
            name = match[1].strip()
            if _FILE.search(name):
                continue
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: -counts[name])[:most]


def _reason(handle: Handle, state: State) -> str:
    try:
        words = JobDirectory(handle.path).failure.read_text("utf-8", "replace").strip()
    except OSError:
        words = ""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    # A traceback says what happened in its last line.
    return (lines[-1] if lines and lines[0].startswith("Traceback") else lines[0] if lines else "")[:300] or (
        state.reason or f"exit code {state.exit_code}"
    )


def _seconds(state: State) -> float | None:
    if state.started is None or state.ended is None:
        return None
    return (datetime.fromisoformat(state.ended) - datetime.fromisoformat(state.started)).total_seconds()
