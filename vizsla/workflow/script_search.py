"""A search whose trials are jobs: a user's script, run unmodified with other hyperparameters each time."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError, VizslaError
from vizsla.files import sha256_file, sha256_json
from vizsla.jobs import source_code
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors import open_executor
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.here import resuming_here, running_here
from vizsla.jobs.hyperparameter_input import HyperparameterInput, read_hyperparameters
from vizsla.jobs.hyperparameters import encoded
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.lock import ControllerLock, create_locked
from vizsla.jobs.slots import Capacity
from vizsla.jobs.spec import ResourceConfig, TrainingJobSpec
from vizsla.jobs.spec_input import names_no_place, part_channels, typed_script_spec
from vizsla.parameters import spelled
from vizsla.reports.render import fragment_of
from vizsla.settings import settings
from vizsla.tuning.finalists import Finalist, Verdict, judge
from vizsla.tuning.job_runner import JobsRunner
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective, names_test, own_objective, script_objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult
from vizsla.tuning.search import search
from vizsla.tuning.space import CategoricalParameter, Space, Value, typed_value
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Study
from vizsla.tuning.trials import TrialRecord, ranked
from vizsla.workflow import sagemaker_search
from vizsla.workflow.document import tuning_document
from vizsla.workflow.logbook import Logbook
from vizsla.workflow.observer import Observer
from vizsla.workflow.search import write_result
from vizsla.workflow.study import EXECUTOR, SAGEMAKER, Problem, open_study, search_of
from vizsla.workflow.tune import find_unfinished

COST_UNIT = "seconds"


@dataclass(frozen=True)
class ScriptSearch:
    """What is asked: the job that each trial is, without the searched hyperparameters, and the search."""

    spec: TrainingJobSpec
    search: SearchRequest
    base_name: str
    name: str | None = None
    executor: str = "local"
    """What runs the trials."""

    @classmethod
    def of(
        cls,
        script: str,
        source_dir: Path | None,
        data: Sequence[str],
        hyperparameters: Sequence[str],
        metrics: Sequence[str],
        instance_type: str | None,
        name: str | None,
        *,
        search: SearchRequest,
        executor: str = "local",
    ) -> ScriptSearch:
        """From what is typed. The hyperparameters are the search's static ones, so that the winner's are whole.

        Raises
        ------
        VizslaError
            For anything that cannot be meant.
        """
        spec = typed_script_spec(script, source_dir, data, [], metrics)
        return cls.with_fixed(spec, search, hyperparameters, instance_type, Path(script).stem, name, executor)

    @classmethod
    def with_fixed(
        cls,
        spec: TrainingJobSpec,
        search: SearchRequest,
        hyperparameters: HyperparameterInput,
        instance_type: str | None,
        base_name: str,
        name: str | None,
        executor: str = "local",
    ) -> ScriptSearch:
        """The search with ``hyperparameters`` that stay the same beside those that it searches; each trial has a share.

        Raises
        ------
        UsageError
            When one of the fixed is searched, or static already.
        """
        instance = instance_type or _share(open_executor(executor).capacity(), search.limits.max_parallel)
        spec = spec.model_copy(update={"resource_config": ResourceConfig(instance_type=instance)})
        fixed = read_hyperparameters(hyperparameters)
        if not isinstance(hyperparameters, Mapping):  # of what is typed, numbers are numbers
            fixed = {name: typed_value(value) if isinstance(value, str) else value for name, value in fixed.items()}
        if search.space is not None and fixed:
            search = replace(search, space=search.space.with_static(fixed))
        return cls(spec, search, base_name, name, executor)


@dataclass(frozen=True)
class ScriptSearchResult:
    """The tuning job, its page, and what the search found."""

    job: Path
    report: Path
    result: SearchResult

    @property
    def search(self) -> SearchResult:
        """What the search found, under the name that it has in the result of ``fit``."""
        return self.result

    def __repr__(self) -> str:
        return f"ScriptSearchResult({self.result!r}, {str(self.job)!r})"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)


def search_request(
    space: Space | None,
    objective: str | None,
    direction: str | None,
    metrics: Sequence[str] | None,
    finalists: int | None,
    **options: Any,
) -> SearchRequest:
    """A search of heads, or, where ``metrics`` are the names of a script's, of that script; ``options`` are the others.

    Raises
    ------
    UsageError
        When the objective is none of the metrics, or an option cannot be used.
    """
    if metrics is None:
        return SearchRequest(space, own_objective(objective, direction), finalists=finalists, **options)
    return SearchRequest(space, objective_of(objective, direction, metrics), finalists=finalists or 0, **options)


def channels_and_ranges(texts: Sequence[str], note: Callable[[str], object]) -> tuple[list[str], list[str]]:
    """Channels, and the rest, of what is typed; ``note`` is told how a text is taken that could be meant otherwise."""
    channels, ranges = part_channels(texts)
    for text in channels[1:]:
        name, _, place = text.partition("=")
        instead = spelled("hyperparameters", {name: place})
        note(f"{text} is a channel, as there are data at that place; {instead} makes it a hyperparameter")
    for text in filter(names_no_place, ranges):
        note(f"{text} is a hyperparameter and no channel, as nothing is at that place")
    return channels, ranges


def objective_of(metric: str | None, direction: str | None, names: Sequence[str]) -> Objective:
    """The objective of a script's trials.

    Raises
    ------
    UsageError
        When it is not said which metric decides, or no definition has that name.
    """
    if metric is None:
        if len(names) != 1:
            raise UsageError(
                "It is not said which metric decides.",
                parameter="objective",
                allowed=", ".join(names) or f"the name of a metric that {spelled('metrics')} defines",
                do=f"name it by {spelled('objective')}, and say {spelled('direction')}",
            )
        metric = names[0]
    return script_objective(metric, direction, names)[0]


def tune_script(request: ScriptSearch, observer: Observer) -> ScriptSearchResult:
    """Search, as a job that runs in this process; its trials are jobs of their own.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong. Trials that ended are kept.
    """
    space = searched(request)
    if request.executor == SAGEMAKER:
        sagemaker_search.preview(request.search, space, request.spec, request.base_name)
    document = tuning_document(request.search, request.spec)
    if request.executor != "local":
        document[EXECUTOR] = request.executor
    with running_here("tune", request.base_name, document, name=request.name) as job:
        return _run(request, job, observer)


def make_job(request: ScriptSearch) -> tuple[JobDirectory, ControllerLock]:
    """The job of a search that another process will run, and its lock for that: ``vizsla tune resume`` begins it.

    Raises
    ------
    VizslaError
        When nothing is searched, the script is not there, or the name is in use.
    """
    _problem(request.spec, searched(request))
    document = tuning_document(request.search, request.spec)
    return create_locked("tune", request.base_name, document, settings().home, request.name)


def resume_script(name: str | os.PathLike[str], observer: Observer) -> ScriptSearchResult:
    """Go on with a search that was killed, stopped or failed: jobs that still run are taken over.

    Raises
    ------
    JobError
        When it is completed, or another process controls it.
    """
    job = find_unfinished(name)
    executor = job.document.get(EXECUTOR, "local")
    request = ScriptSearch(kind_of(job.kind).spec(job.document), search_of(job), job.name, job.name, executor)
    with resuming_here(job):
        return _run(request, job, observer)


def _run(request: ScriptSearch, job: JobDirectory, observer: Observer) -> ScriptSearchResult:
    from vizsla.reports.tune import write_page

    with open(job.logs, "a", encoding="utf-8", errors="replace") as log:
        logbook = Logbook(log, observer)
        if request.executor == SAGEMAKER:
            there = sagemaker_search.SageMakerSearch(request.search, searched(request), request.spec, job, logbook)
            result = there.run()
            write_result(job, result)
        else:
            with contextlib.closing(open_executor(request.executor)) as executor:
                result = _SearchJob(request, job, logbook, executor).run()
        return ScriptSearchResult(job.path, write_page(job, result), result)


class _SearchJob:
    """One run of a search: its trials, and the best of them once more with other seeds."""

    def __init__(self, request: ScriptSearch, job: JobDirectory, observer: Observer, executor: Executor) -> None:
        self.spec, self.search, self.space = request.spec, request.search, searched(request)
        self.job, self.observer, self.executor = job, observer, executor
        minutes = self.search.limits.minutes
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes

    def run(self) -> SearchResult:
        options, objective, space, notes = self.search, self.search.objective, self.space, []
        if names_test(objective.metric):
            _, warning = script_objective(objective.metric, objective.direction, ())
            notes.append(str(warning))
        problem, epochs = _problem(self.spec, space), space.largest("epochs") or 0
        with open_study(options, space, self.job, problem, epochs=epochs, seed=options.seed) as (study, prior_notes):
            notes += prior_notes
            self.observer.stage("trials", options.limits.trials)
            for note in notes:
                self.observer.note(note)
            runner = self._runner(study, space.static)
            try:
                end = search(
                    study,
                    runner,
                    options.limits,
                    deadline=self.deadline,
                    watch=lambda trials: self.observer.trials(trials, objective),
                )
                runner.check()
            except BaseException as error:
                runner.end("the search was stopped")  # before another controller may take the study
                if isinstance(error, VizslaError):  # that all failed says less than why
                    runner.check()
                raise
        result = SearchResult.of(self.job.path, study, end, space, objective, notes, COST_UNIT)
        write_result(self.job, result)  # whatever becomes of the last round, the search's own winner is there
        if options.finalists:
            verdict, final_notes = self._final(study)
            for note in final_notes:
                self.observer.note(note)
            result = replace(result, verdict=verdict, notes=(*notes, *final_notes))
            write_result(self.job, result)
        return result

    def _runner(self, study: Study, static: Mapping[str, Value]) -> JobsRunner:
        objective = self.search.objective
        return JobsRunner(self.executor, self.spec, objective, self.job.name, study=study.id, static=static)

    def _final(self, study: Study) -> tuple[Verdict | None, list[str]]:
        """Run the best trials again with other values of the hyperparameter ``seed``; notes on those that could not.

        None where the best trial is among these: then the search's own winner stands.
        """
        objective, seeds = self.search.objective, self.search.finalist_seeds
        chosen = ranked(study.trials(), objective)[: self.search.finalists]
        self.observer.stage("finalists", len(chosen) * seeds)
        finalists, notes = [], []
        for trial in chosen:
            try:
                values = self._again(study, trial)
                why = f"{len(values)} of {seeds} runs gave a value"
            except VizslaError as error:
                values, why = [], error.what
            if len(values) == seeds:
                finalists.append(Finalist(trial, tuple(values)))
            else:
                over = self.deadline is not None and time.monotonic() >= self.deadline
                why = self.search.limits.time_is_over if over else why
                notes.append(f"Finalist {trial.number} is not judged: {why}.")
        if not finalists or finalists[0].trial.number != chosen[0].number:
            notes.append("The best trial could not be trained again with other seeds: it wins by its one value.")
            return None, notes
        return judge(finalists, objective, COST_UNIT), notes

    def _again(self, study: Study, trial: TrialRecord) -> list[float]:
        """The objective of a trial by seed, as a grid of its own in the job's directory."""
        count = self.search.finalist_seeds
        again = Study.open(
            str(self.job.checkpoints / "study.db"),
            f"{self.job.name[:40]}-final-{trial.number}",
            Space({"seed": CategoricalParameter(list(range(1, count + 1)))}, {}),
            self.search.objective,
            strategy("grid"),
            total=count,
            early_stopping="off",
        )
        runner = self._runner(again, dict(study.space.static) | dict(trial.params))
        limits = SearchLimits(trials=count, max_parallel=self.search.limits.max_parallel)
        try:
            search(again, runner, limits, deadline=self.deadline)
        except BaseException:
            runner.end("the search was stopped")
            raise
        return [t.value for t in again.trials() if t.complete and t.value is not None and math.isfinite(t.value)]


def searched(request: ScriptSearch) -> Space:
    """What is searched.

    Raises
    ------
    UsageError
        When nothing is.
    """
    if request.search.space is None:
        raise UsageError(
            "It is not said what to search.",
            parameter="space",
            allowed="at least one range, such as lr=0.001..0.1:log batch-size=16,32,64",
        )
    return request.search.space


def _problem(spec: TrainingJobSpec, space: Space) -> Problem:
    """What the trials of a script are of: its text, its data, and its other hyperparameters."""
    script = ""
    if spec.script is not None:
        with source_code.opened(spec.script[0]) as folder:
            script = sha256_file(folder / spec.script[1])
    values = {name: text for name, text in spec.hyper_parameters.items() if not name.startswith("sagemaker_")}
    inputs = sha256_json(spec.to_dict().get("InputDataConfig"))
    return Problem({"script": script, "data": inputs}, values | encoded(dict(space.static)), lambda v: encoded(dict(v)))


def _share(capacity: Capacity, parallel: int | None) -> str:
    """A trial's share: a GPU and its part of the CPUs where there are GPUs, else one CPU, or its part of them."""
    sharing = min(parallel or capacity.gpus or capacity.cpus, capacity.cpus)
    cpus = max(1, min(capacity.cpus // sharing, capacity.machine[0]))
    return f"local-{cpus}cpu-1gpu" if capacity.gpus else f"local-{cpus}cpu"
