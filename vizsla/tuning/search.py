"""The controller of a search: asks for trials, has them run, tells the study, knows when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from vizsla.errors import VizslaError
from vizsla.tuning.limits import SAME_FAILURES, SearchLimits
from vizsla.tuning.study import Study, TrialOutcome
from vizsla.tuning.trials import TrialRecord, common_failure

Report = Callable[[int, int, float], bool]
"""Takes a trial's number, an epoch (from 1) and the objective after it; True when the trial should be given up."""

Watcher = Callable[[Sequence[TrialRecord]], None]
"""Told of all trials whenever one of them changes; must return quickly."""


class Runner(Protocol):
    """Runs trials: many heads at once in this process, or jobs through an executor."""

    def room(self, running: int, started: int, total: int) -> int:
        """How many more trials it would take now, with ``running`` running and ``started`` of ``total`` started."""
        ...

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Begin trials; also those that an earlier controller began and did not see the end of."""
        ...

    def step(self, report: Report) -> list[TrialOutcome]:
        """Go on for a while, reporting values as they come; the trials that ended."""
        ...

    def stop(self, reason: str) -> None:
        """End the running trials soon; their outcomes come from :meth:`step`."""
        ...


@dataclass(frozen=True)
class SearchEnd:
    """Why a search ended, in words, and the seconds it took."""

    reason: str
    seconds: float


def search(
    study: Study,
    runner: Runner,
    limits: SearchLimits,
    *,
    deadline: float | None = None,
    watch: Watcher = lambda trials: None,
) -> SearchEnd:
    """Run trials until a limit is reached.

    Parameters
    ----------
    deadline:
        A moment of ``time.monotonic()``; by default ``limits.minutes`` from now.
    watch:
        See :data:`Watcher`.

    Raises
    ------
    VizslaError
        When the first trials all fail, with the reason that most of them have.
    """
    began = time.monotonic()
    if deadline is None and limits.minutes is not None:
        deadline = began + 60 * limits.minutes
    running = study.running()
    if running:
        runner.start(running)
    stopping: str | None = None

    def report(number: int, epoch: int, value: float) -> bool:
        hopeless = study.report(number, epoch, value)
        watch(study.trials())
        return hopeless or (deadline is not None and time.monotonic() >= deadline)

    while True:
        trials = study.trials()
        running = [t for t in trials if not t.ended]
        reason = limits.reached(trials, study.objective, deadline, study.before)
        if reason is None and stopping is None:
            drawn = _start(study, runner, limits, running=len(running), started=len(trials))
            if drawn:
                running += drawn
                watch(study.trials())
            elif drawn is None and not running:
                reason = "every combination was tried"
        if reason is not None and not running:
            return SearchEnd(stopping or reason, time.monotonic() - began)
        if reason is not None and stopping is None and len(trials) < limits.trials:
            stopping = reason
            runner.stop(reason)
        elif deadline is not None and time.monotonic() >= deadline and stopping is None:
            stopping = reason or limits.time_is_over
            runner.stop(stopping)
        for outcome in runner.step(report):
            study.tell(outcome)
            watch(study.trials())
        _check_failures(study)


def _start(
    study: Study, runner: Runner, limits: SearchLimits, *, running: int, started: int
) -> list[TrialRecord] | None:
    """Draw and begin as many trials as there is room for; None where nothing is left to draw."""
    room = min(runner.room(running, started, limits.trials), limits.trials - started)
    if limits.max_parallel is not None:
        room = min(room, limits.max_parallel - running)
    if room <= 0:
        return []
    drawn = study.ask(room)
    if drawn:
        runner.start(drawn)
    return drawn or None


def _check_failures(study: Study) -> None:
    ended = [t for t in study.trials() if t.ended]
    failed = [t for t in ended if t.status == "Failed"]
    if len(failed) < SAME_FAILURES or len(failed) < len(ended):
        return
    example, why = common_failure(failed)
    raise VizslaError(
        f"All of the first {len(failed)} trials failed, {why}",
        where=example.name,
        do="correct that and start a new search; going on with this one would count the same failures again",
    )
