"""The search inside ``fit``: many heads on the features that are there, and the best of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import JobError, VizslaError
from vizsla.files import write_bytes, write_json
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.settings import settings
from vizsla.training.heads import HeadConfig, HeadData, TrainedHead
from vizsla.tuning.finalists import judge, retrain_heads
from vizsla.tuning.heads_runner import HeadsRunner, check_space, default_space, head_config
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import COST_UNIT, SearchResult
from vizsla.tuning.search import search
from vizsla.tuning.space import Space
from vizsla.tuning.storage import stored_trials
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Prior, Study
from vizsla.tuning.trials import TrialRecord, best, ranked
from vizsla.workflow.observer import Observer

SUMMARY, TABLE, ABOUT = "tuning.json", "trials.csv", "search.json"
_SHARED_STUDY = "search"
_FIRST = 4
"""Configurations taken over from a search on other data."""


def search_heads(
    data: HeadData,
    base: HeadConfig,
    request: SearchRequest,
    job: JobDirectory,
    observer: Observer,
    *,
    identity: str,
    deadline: float | None = None,
) -> tuple[TrainedHead, SearchResult]:
    """Search for hyperparameters and train the winner; started again in the same job, it goes on.

    Parameters
    ----------
    data:
        Training and validation rows only: nothing here can read the test split.
    identity:
        What tells this data set and backbone from others.
    deadline:
        A moment of ``time.monotonic()``.

    Raises
    ------
    VizslaError
        When the space cannot be trained with, the study is another one's, or the trials fail.
    """
    space = request.space or default_space()
    check_space(base, space)
    write_json(job.checkpoints / ABOUT, {"identity": identity, "space": space.to_dict()})
    study, notes = open_study(request, space, job, epochs=_most_epochs(base, space), seed=base.seed, identity=identity)
    for note in notes:
        observer.note(note)
    runner = HeadsRunner(data, base, request.objective, static=space.static, seeds=request.seeds)
    end = search(
        study,
        runner,
        request.limits,
        deadline=deadline,
        watch=lambda trials: observer.trials(trials, request.objective),
    )
    found = best(study.trials(), request.objective)
    if found is None:
        raise VizslaError(f"No trial was completed: {end.reason}.", where=job.path, do="give more time, or more trials")
    fixed = head_config(base, space.static)
    finalists, heads = retrain_heads(
        data,
        fixed,
        study.trials(),
        request.objective,
        count=request.finalists or 1,
        seeds=request.finalist_seeds if request.finalists else 1,
    )
    verdict = judge(finalists, request.objective, COST_UNIT) if request.finalists else None
    winner = finalists[0] if verdict is None else verdict.winner
    trained = next(head for head, f in zip(heads, finalists, strict=True) if f.trial.number == winner.trial.number)
    result = SearchResult(
        name=job.name,
        space=space,
        objective=request.objective,
        trials=tuple(study.trials()),
        best=found,
        verdict=verdict,
        reason=end.reason,
        importances=study.importances(),
        seconds=end.seconds,
        notes=tuple(notes),
    )
    write_result(job, result)
    return trained, result


def open_study(
    request: SearchRequest, space: Space, job: JobDirectory, *, epochs: int, seed: int, identity: str
) -> tuple[Study, list[str]]:
    """The study of a job, new or as it was left, with what earlier searches teach; notes on the latter."""
    prior, notes = _prior(request, space, identity)
    uri, name = study_place(request, job)
    study = Study.open(
        uri,
        name,
        space,
        request.objective,
        strategy(request.strategy),
        total=request.limits.max_jobs,
        epochs=epochs,
        early_stopping=request.early_stopping,
        seed=seed,
        prior=prior,
    )
    return study, notes


def study_place(request: SearchRequest, job: JobDirectory) -> tuple[str, str]:
    """Address and name of a job's study. One that was asked for by address may be shared by several jobs."""
    if request.study is None:
        return str(job.checkpoints / "study.db"), job.name
    uri, _, name = request.study.partition("#")
    return uri, name or _SHARED_STUDY


def write_result(job: JobDirectory, result: SearchResult) -> None:
    """Leave the table and the summary in the job's output."""
    write_json(job.output / SUMMARY, result.to_dict())
    write_bytes(job.output / TABLE, result.analytics().csv().encode())


def _prior(request: SearchRequest, space: Space, identity: str) -> tuple[Prior, list[str]]:
    known: list[tuple[dict[str, Any], float]] = []
    first: list[dict[str, Any]] = []
    notes = []
    for name in request.warm_start:
        parent = _parent(name)
        own = SearchRequest.from_dict(parent.request["about"]["tuning"])
        trials = [t for t in _parents_trials(own, parent) if t.complete and space.contains(t.params)]
        chosen = [{n: t.params[n] for n in space.parameters} for t in ranked(trials, own.objective)]
        if own.objective == request.objective and _identity(parent.checkpoints / ABOUT) == identity:
            known += [({n: t.params[n] for n in space.parameters}, t.value or 0.0) for t in trials]
            notes.append(f"{name} searched the same data: its {len(trials)} trials that fit this space are known.")
        else:
            first += chosen[:_FIRST]
            notes.append(
                f"{name} searched other data or another objective: its best {len(chosen[:_FIRST])} configurations "
                "are tried first."
            )
    return Prior(tuple(known), tuple(first)), notes


def _parents_trials(request: SearchRequest, parent: JobDirectory) -> Sequence[TrialRecord]:
    return stored_trials(*study_place(request, parent))


def _parent(name: str) -> JobDirectory:
    job = controller.find(name, settings().home)
    if "tuning" not in (job.request.get("about") or {}):
        raise JobError(f"Job {name!r} did not search.", where=job.path, do="name an earlier tuning job to learn from")
    return job


def _identity(path: Path) -> str | None:
    try:
        found = json.loads(path.read_bytes())
        return str(found["identity"])
    except (OSError, ValueError, KeyError):
        return None


def _most_epochs(base: HeadConfig, space: Space) -> int:
    fixed = head_config(base, space.static)
    parameter = space.parameters.get("epochs")
    if parameter is None:
        return fixed.epochs
    values = getattr(parameter, "values", None) or (parameter.max_value,)  # type: ignore[union-attr]
    return max(int(value) for value in values)
