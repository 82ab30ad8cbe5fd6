"""The study of a tuning job: where it lies, what it is about, and what earlier searches teach it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.files import sha256_json, write_json
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.settings import settings
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import CategoricalParameter, Space, Value
from vizsla.tuning.storage import stored_trials
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Prior, Study
from vizsla.tuning.study_lock import controlling
from vizsla.tuning.trials import TrialRecord, ranked

EXECUTOR, SAGEMAKER = "TrialExecutor", "sagemaker"
"""The field of a search's document that is not AWS's, and its value for a search that SageMaker runs itself."""
_ABOUT = "search.json"
_KEPT = "trials.json"
_SHARED_STUDY = "search"
_FIRST = 4
"""Configurations taken over from a search of another problem."""


@dataclass(frozen=True)
class Problem:
    """What a value of the objective depends on besides the searched hyperparameters.

    ``identity`` tells its parts (data, backbone, script) from others; ``fixed`` are all hyperparameters as they are
    where they are not searched; ``canonical`` takes typed hyperparameters to the names and values of ``fixed``.
    """

    identity: dict[str, str]
    fixed: dict[str, Any]
    canonical: Callable[[Mapping[str, Value]], dict[str, Any]]

    def outside(self, space: Space, fixed: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
        """What a training with ``fixed`` and ``values`` gets for the hyperparameters that ``space`` does not search."""
        any_values = {
            name: p.values[0] if isinstance(p, CategoricalParameter) else p.min_value
            for name, p in space.parameters.items()
        }
        searched = self.canonical(any_values)
        all_values = dict(fixed) | self.canonical(values)
        return {name: value for name, value in all_values.items() if name not in searched}

    def parts(self, space: Space) -> dict[str, str]:
        """What a shared study is told of it."""
        return self.identity | {"fixed hyperparameters": sha256_json(self.outside(space, self.fixed, {}))}


@contextlib.contextmanager
def open_study(
    request: SearchRequest, space: Space, job: JobDirectory, problem: Problem, *, epochs: int, seed: int
) -> Iterator[tuple[Study, list[str]]]:
    """The study of a job, new or as it was left, and notes on what earlier searches teach it.

    Nobody else writes it during the block.

    Raises
    ------
    VizslaError
        When another search writes it, or it is about something else, or an earlier search cannot be found.
    """
    about = {"identity": problem.identity, "space": space.to_dict(), "fixed": problem.fixed}
    before = _about(job.checkpoints / _ABOUT).get("before")
    prior, notes = _prior(request, space, problem)
    uri, name = study_place(request, job)
    with controlling(uri, name, job.name):
        study = Study.open(
            uri,
            name,
            space,
            request.objective,
            strategy(request.strategy),
            # A job's own study holds its own trials only; its script may be corrected and the search gone on with.
            problem=None if request.study is None else problem.parts(space),
            total=request.limits.trials,
            epochs=epochs,
            early_stopping=request.early_stopping,
            seed=seed,
            prior=prior,
        )
        # Written before the first trial is asked for, and kept when the search is gone on with.
        study.before = len(study.trials()) if before is None else int(before)
        write_json(job.checkpoints / _ABOUT, about | {"before": study.before})
        yield study, notes


def search_of(job: JobDirectory) -> SearchRequest:
    """What a tuning job was asked to search."""
    return SearchRequest.from_dict(job.document["HyperParameterTuningJobConfig"])


def study_place(request: SearchRequest, job: JobDirectory) -> tuple[str, str]:
    """Address and name of a job's study. One that was asked for by address may be shared by several jobs."""
    if request.study is None:
        return str(job.checkpoints / "study.db"), job.name
    uri, _, name = request.study.partition("#")
    return uri, name or _SHARED_STUDY


def trials_of(job: JobDirectory) -> Sequence[TrialRecord]:
    """The trials of a tuning job."""
    if job.document.get(EXECUTOR) == SAGEMAKER:
        return kept_trials(job)
    return stored_trials(*study_place(search_of(job), job))


def kept_trials(job: JobDirectory) -> list[TrialRecord]:
    """The trials of a search that SageMaker runs, as it last told them."""
    try:
        return [TrialRecord(**fields | {"curve": ()}) for fields in json.loads((job.checkpoints / _KEPT).read_bytes())]
    except FileNotFoundError:
        return []


def keep_trials(job: JobDirectory, trials: Sequence[TrialRecord]) -> None:
    """What :func:`kept_trials` gives."""
    write_json(job.checkpoints / _KEPT, [asdict(trial) for trial in trials])


def _prior(request: SearchRequest, space: Space, problem: Problem) -> tuple[Prior, list[str]]:
    results: list[tuple[dict[str, Any], float]] = []
    first: list[dict[str, Any]] = []
    notes = []
    here = problem.outside(space, problem.fixed, {})
    for name in request.warm_start:
        parent = _parent(name)
        own = search_of(parent)
        about = _about(parent.checkpoints / _ABOUT)
        trials = [t for t in trials_of(parent) if t.complete and space.contains(t.params)]
        same = own.objective == request.objective and about.get("identity") == problem.identity
        fixed = about.get("fixed")
        alike = [t for t in trials if same and fixed is not None and problem.outside(space, fixed, t.params) == here]
        results += [({n: t.params[n] for n in space.parameters}, t.value or 0.0) for t in alike]
        chosen = [t for t in ranked(trials, own.objective) if t not in alike][:_FIRST]
        first += [{n: t.params[n] for n in space.parameters} for t in chosen]
        if alike:
            notes.append(f"{name} searched the same data: its {len(alike)} trials that fit this space are known.")
        if chosen or not alike:
            other = "trained with other fixed hyperparameters" if same else "searched other data or another objective"
            notes.append(f"{name} {other}: its best {len(chosen)} configurations are tried first.")
    return Prior(tuple(results), tuple(first)), notes


def _parent(name: str) -> JobDirectory:
    job = controller.find(name, settings().home)
    if job.kind != "tune":
        raise JobError(f"Job {name!r} did not search.", where=job.path, do="name an earlier tuning job to learn from")
    return job


def _about(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
