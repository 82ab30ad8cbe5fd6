"""Tuning jobs: find them, show them, go on with them, take their best hyperparameters."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from vizsla.errors import JobError
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import resuming_here
from vizsla.jobs.kinds import kind_of
from vizsla.models import artifact
from vizsla.reports.render import fragment_of
from vizsla.reports.tune import PAGE
from vizsla.settings import settings
from vizsla.tuning.analytics import TuningAnalytics
from vizsla.tuning.fine_tuning_space import BACKBONE
from vizsla.tuning.head_space import default_space, effective
from vizsla.tuning.objective import Objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space
from vizsla.tuning.trials import TrialRecord, best
from vizsla.workflow.document import from_job
from vizsla.workflow.fit import fit_in
from vizsla.workflow.observer import Observer
from vizsla.workflow.request import FitResult
from vizsla.workflow.search import SUMMARY
from vizsla.workflow.study import search_of, trials_of


@dataclass(frozen=True)
class TuningJob:
    """A tuning job as it is now, running or ended. ``summary`` is what it left at its end; None before."""

    job: JobDirectory
    request: SearchRequest
    space: Space
    trials: tuple[TrialRecord, ...]
    summary: dict[str, Any] | None

    def __repr__(self) -> str:
        return f"TuningJob({self.name!r}, {self.job.state.status}, {len(self.trials)} trials)"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.job.output / PAGE)

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def objective(self) -> Objective:
        """What it makes small or large."""
        return self.request.objective

    def winner(self) -> TrialRecord | None:
        """The trial that won, or is the best so far."""
        if self.summary is not None:
            name = self.summary["BestTrainingJob"]["TrainingJobName"]
            return next((t for t in self.trials if t.name == name), None)
        return best(self.trials, self.objective)

    def best_hyperparameters(self) -> dict[str, Any]:
        """The winner's hyperparameters, the static ones too.

        Raises
        ------
        JobError
            When no trial was completed.
        """
        winner = self.winner()
        if winner is None:
            raise JobError(
                f"No trial of {self.name!r} was completed yet: there is nothing to export.",
                where=self.job.path,
                do=f"`vizsla tune show {self.name}` shows its trials",
            )
        values = dict(self.space.static) | dict(winner.params)
        if is_script(self.job):
            return values
        values.pop(BACKBONE, None)  # which :meth:`backbone` gives
        return effective(values)

    def backbone(self) -> dict[str, Any]:
        """The backbone that its trials trained with, in the parameters of ``fit``; of a script's nothing."""
        if is_script(self.job):
            return {}
        asked = from_job(self.job.document)
        card = self.job.model / artifact.CARD
        name = json.loads(card.read_bytes())["backbone"]["name"] if card.exists() else asked.backbone
        values = {"backbone": name, "weights": asked.weights, "random_init": asked.random_init, "size": asked.size}
        return {parameter: value for parameter, value in values.items() if value}

    @property
    def data(self) -> str:
        """Where its pictures are, or those of a script's first channel."""
        return str(from_job(self.job.document).data)

    def analytics(self) -> TuningAnalytics:
        """The trials as a table: ``analytics().dataframe()``."""
        return TuningAnalytics(self.name, self.trials, self.space)


def load_tuning(name: str | os.PathLike[str]) -> TuningJob:
    """The tuning job of this name, or at this path. Nothing of it is changed.

    Raises
    ------
    JobError
        When there is none, or it is another kind of job.
    """
    job = find(name)
    request = search_of(job)
    summary = job.output / SUMMARY
    return TuningJob(
        job=job,
        request=request,
        space=request.space or default_space(),
        trials=tuple(trials_of(job)),
        summary=json.loads(summary.read_bytes()) if summary.exists() else None,
    )


def find(name: str | os.PathLike[str]) -> JobDirectory:
    """The directory of a tuning job.

    Raises
    ------
    JobError
        When there is none, or it is another kind of job.
    """
    job = controller.find(os.fspath(name), settings().home)
    if job.kind != "tune":
        raise JobError(
            f"Job {job.name!r} is no tuning job: it is of the kind {job.kind!r}.",
            where=job.path,
            do="`vizsla jobs list` shows the kinds",
        )
    return job


def is_script(job: JobDirectory) -> bool:
    """Whether the trials of a tuning job are jobs that run a person's script."""
    kind = kind_of(job.kind)
    return not kind.is_process(kind.spec(job.document))


def find_unfinished(name: str | os.PathLike[str]) -> JobDirectory:
    """The directory of a tuning job that there is something left to do for.

    Raises
    ------
    JobError
        When there is none, or it is completed.
    """
    job = find(name)
    if job.state.ended_well:
        raise JobError(
            f"The search {job.name!r} is completed: there is nothing left to do.",
            where=job.path,
            do=f"`vizsla tune show {job.name}` shows it; `vizsla tune ... --warm-start {job.name}` searches further",
        )
    return job


def resume(name: str | os.PathLike[str], observer: Observer) -> FitResult:
    """Go on with a search for heads that was killed, stopped or failed.

    Raises
    ------
    JobError
        When it is completed, or another process controls it.
    """
    job = find_unfinished(name)
    with resuming_here(job):
        return fit_in(job, from_job(job.document), observer)
