"""The Python door: what ``import vizsla`` offers beyond single classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.errors import UsageError
from vizsla.jobs.events import Event, LogEvent
from vizsla.jobs.executors import open_executor
from vizsla.jobs.request import DEFAULT_CHANNEL, channel, metric_definition, script_spec
from vizsla.jobs.result import JobResult, result_of
from vizsla.jobs.spec import Channel
from vizsla.training.config import HYPERPARAMETERS, LbfgsConfig, head_config
from vizsla.tuning.heads_runner import default_space
from vizsla.tuning.limits import Limits
from vizsla.tuning.objective import Direction, own_objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space, own_space
from vizsla.tuning.strategies import EarlyStopping
from vizsla.workflow.fit import fit as _fit
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest, FitResult
from vizsla.workflow.script_search import ScriptSearch, ScriptSearchResult, objective_of, tune_script

Data: TypeAlias = Mapping[str, str | os.PathLike[str]] | str | os.PathLike[str]
"""Paths or addresses by channel, or one."""


def fit(
    data: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    random_init: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    **hyperparameters: Any,
) -> FitResult:
    """Train, evaluate and save a classifier from a folder of labelled pictures.

    Parameters
    ----------
    data:
        Any source that :func:`vizsla.open_dataset` reads.
    backbone, weights, random_init:
        Any timm image model; local weights (a folder in the hub's layout or a file); an untrained one.
    seed:
        Decides every draw.
    minutes:
        Most minutes that the whole job may take.
    source, gate:
        How to read the data, and what to do about damaged pictures and leaks.
    hyperparameters:
        Those of a head, by name: ``balance``, ``weight_decay``, ``optimizer`` and others (docs/fit.md). The head is
        the optimum of its problem; ``lr``, ``epochs`` and others that only steps have ask for AdamW.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.
    """
    unknown = sorted(set(hyperparameters) - set(HYPERPARAMETERS))
    if unknown:
        raise UsageError(
            f"There is no hyperparameter {unknown[0]!r}.",
            where=f"vizsla.fit({unknown[0]}=...)",
            allowed=", ".join(HYPERPARAMETERS),
        )
    head = head_config({**hyperparameters, "seed": seed})
    return _fit(
        FitRequest(
            os.fspath(data),
            backbone,
            None if weights is None else Path(weights),
            random_init,
            head,
            minutes,
            name,
            source or SourceOptions(),
            gate or GateOptions(),
        )
    )


def _channels(data: Data | None) -> list[Channel]:
    placed = data if isinstance(data, Mapping) else {} if data is None else {DEFAULT_CHANNEL: data}
    return [channel(called, os.fspath(place)) for called, place in placed.items()]


def _print_log(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _ignore(text: str) -> None:
    pass


def train(
    script: str | os.PathLike[str],
    *,
    source_dir: str | os.PathLike[str] | None = None,
    data: Data | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, str] | None = None,
    instance_type: str = "local",
    max_runtime: int | None = None,
    name: str | None = None,
    executor: str = "local",
    on_log: Callable[[str], object] | None = None,
) -> JobResult:
    """Run a training script unmodified, as a SageMaker training job would, and wait for its end.

    Ctrl-C stops the job. One that was stopped, by a person or by its limit, is no error: ``result.state`` tells.

    Parameters
    ----------
    script:
        A .py or .sh file, relative to ``source_dir`` where that is given.
    source_dir:
        A folder with the script, what it imports, and ``requirements.txt``; by default the script's own.
    data:
        Paths or s3:// addresses by channel; one alone is the channel ``training``.
    hyperparameters:
        Become ``--name value``.
    metrics:
        Regular expressions by name: the first group in a line of the log is a value.
    instance_type:
        ``local`` is all of this machine, ``local-1cpu`` a share.
    max_runtime:
        Most seconds that it may run.
    executor:
        ``local`` runs it in a process of its own; ``debug`` in this one, so that breakpoints work.
    on_log:
        Is given the log as it is written; by default it is printed.

    Raises
    ------
    VizslaError
        When it cannot be meant, or failed.
    """
    spec = script_spec(
        os.fspath(script),
        source_dir=None if source_dir is None else Path(source_dir),
        data=_channels(data),
        hyperparameters=hyperparameters,
        metrics=[metric_definition(called, regex) for called, regex in (metrics or {}).items()],
        instance_type=instance_type,
        max_runtime=max_runtime,
        name=name,
    )

    runs = open_executor(executor)
    show_log = on_log or (_ignore if runs.echoes else _print_log)

    def show(event: Event) -> None:
        if isinstance(event, LogEvent):
            show_log(event.text)

    try:
        return result_of(runs, runs.submit(spec, Path(script).stem), show).check()
    finally:
        runs.close()


@overload
def tune(
    data: str | os.PathLike[str], space: Mapping[str, Any] | Space | None = ..., *, script: None = ..., **options: Any
) -> FitResult: ...
@overload
def tune(
    data: Data | None = ...,
    space: Mapping[str, Any] | Space | None = ...,
    *,
    script: str | os.PathLike[str],
    **options: Any,
) -> ScriptSearchResult: ...
def tune(  # type: ignore[misc]  # the overloads say what comes back; the options are these
    data: Data | None = None,
    space: Mapping[str, Any] | Space | None = None,
    *,
    trials: int = 20,
    objective: str | None = None,
    direction: Direction | None = None,
    strategy: str = "default",
    target: float | None = None,
    patience: int | None = None,
    early_stopping: EarlyStopping = "auto",
    seeds: int = 1,
    finalists: int | None = None,
    finalist_seeds: int = 5,
    warm_start: Sequence[str] = (),
    study: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    random_init: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    script: str | os.PathLike[str] | None = None,
    source_dir: str | os.PathLike[str] | None = None,
    metrics: Mapping[str, str] | None = None,
    instance_type: str | None = None,
    max_parallel: int | None = None,
) -> FitResult | ScriptSearchResult:
    """Search for the hyperparameters of a head, and train, evaluate and save the winner; or for those of a script.

    ``result.search`` tells the trials: ``result.search.analytics().dataframe()``.

    Parameters
    ----------
    data, backbone, weights, random_init, seed, minutes, name, source, gate:
        As for :func:`fit`.
    space:
        Parameters by name: :class:`~vizsla.tuning.space.ContinuousParameter`,
        :class:`~vizsla.tuning.space.IntegerParameter`, :class:`~vizsla.tuning.space.CategoricalParameter`, lists of
        values, texts such as ``"0.001..0.1:log"``, and values that stay the same; or one of SageMaker's documents. By
        default learning rate, weight decay and batch size.
    trials:
        Most trials.
    objective, direction:
        ``valid_loss`` (the default) or ``valid_accuracy``: the test split is refused. With a script the name of one of
        ``metrics`` (the default where there is one), and ``"minimize"`` or ``"maximize"``.
    hyperparameters:
        Values that stay the same in every trial.
    strategy, target, patience, early_stopping, seeds, finalists, finalist_seeds, warm_start, study:
        See :class:`vizsla.tuning.request.SearchRequest` and docs/tune.md.
    script, source_dir, metrics, instance_type, max_parallel:
        Your own script, run unmodified as a job for each trial, at most ``max_parallel`` at a time; ``data`` and these
        are as for :func:`train`.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> vizsla.tune("photos", {"lr": ContinuousParameter(0.001, 0.1)})
    >>> vizsla.tune({"train": "a", "val": "b"}, {"lr": "0.001..0.1"}, script="hpo.py", metrics={"loss": "loss=(.*)"})
    """
    asked: dict[str, Any] = {
        "strategy": strategy,
        "early_stopping": early_stopping,
        "finalist_seeds": finalist_seeds,
        "warm_start": tuple(warm_start),
        "study": study,
    }
    found = None if space is None else space if isinstance(space, Space) else Space.of(space)
    if script is not None:
        own = {"seeds": seeds != 1, "backbone": backbone, "weights": weights, "random_init": random_init}
        _check_effect(own | {"source": source, "gate": gate}, "a search with a script")
        search = SearchRequest(
            space=found,
            objective=objective_of(objective, direction, list(metrics or {})),
            limits=Limits(trials, max_parallel, minutes, target, patience),
            finalists=finalists or 0,
            seed=seed,
            **asked,
        )
        spec = script_spec(
            os.fspath(script),
            source_dir=None if source_dir is None else Path(source_dir),
            data=_channels(data),
            metrics=[metric_definition(called, regex) for called, regex in (metrics or {}).items()],
        )
        wanted = ScriptSearch.with_fixed(spec, search, hyperparameters or {}, instance_type, Path(script).stem, name)
        return tune_script(wanted, Silent())
    scripts = {"source_dir": source_dir, "metrics": metrics, "instance_type": instance_type}
    _check_effect(scripts | {"max_parallel": max_parallel}, "a search without a script")
    if data is None or isinstance(data, Mapping):
        raise UsageError("Heads are trained on one data set.", where="vizsla.tune(data=...)", allowed="a path")
    if hyperparameters:
        usual = default_space()
        found = (found or Space(usual.parameters, {})).with_static(hyperparameters)
    search = SearchRequest(
        space=None if found is None else own_space(found),
        objective=own_objective(objective, direction),
        limits=Limits(max_jobs=trials, target=target, patience=patience),
        seeds=seeds,
        finalists=4 if finalists is None else finalists,
        **asked,
    )
    return _fit(
        FitRequest(
            os.fspath(data),
            backbone,
            None if weights is None else Path(weights),
            random_init,
            LbfgsConfig(seed=seed),
            minutes,
            name,
            source or SourceOptions(),
            gate or GateOptions(),
            search,
        )
    )


def _check_effect(options: Mapping[str, object], what: str) -> None:
    if given := [option for option, value in options.items() if value]:
        raise UsageError(f"{', '.join(given)} would have no effect in {what}.", where="vizsla.tune", do="leave it out")
