"""The Python door: what ``import vizsla`` offers beyond single classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.errors import UsageError
from vizsla.jobs.executors.base import Event, LogEvent
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.request import DEFAULT_CHANNEL, channel, metric_definition, script_spec
from vizsla.jobs.result import JobResult, result_of
from vizsla.training.heads import HeadConfig
from vizsla.tuning.limits import Limits
from vizsla.tuning.objective import own_objective
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space, own_space
from vizsla.tuning.strategies import EarlyStopping
from vizsla.workflow.fit import fit as _fit
from vizsla.workflow.request import FitRequest, FitResult


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
        Fields of :class:`vizsla.training.heads.HeadConfig`, such as ``lr`` and ``epochs``.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.
    """
    unknown = sorted(set(hyperparameters) - set(HeadConfig.names()))
    if unknown:
        raise UsageError(
            f"There is no hyperparameter {unknown[0]!r}.",
            where=f"vizsla.fit({unknown[0]}=...)",
            allowed=", ".join(HeadConfig.names()),
        )
    head = HeadConfig(seed=seed, **hyperparameters)
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


def _print_log(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def train(
    script: str | os.PathLike[str],
    *,
    source_dir: str | os.PathLike[str] | None = None,
    data: Mapping[str, str | os.PathLike[str]] | str | os.PathLike[str] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    metrics: Mapping[str, str] | None = None,
    instance_type: str = "local",
    max_runtime: int | None = None,
    name: str | None = None,
    on_log: Callable[[str], object] = _print_log,
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
    on_log:
        Is given the log as it is written; by default it is printed.

    Raises
    ------
    VizslaError
        When it cannot be meant, or failed.
    """
    placed = data if isinstance(data, Mapping) else {} if data is None else {DEFAULT_CHANNEL: data}
    spec = script_spec(
        os.fspath(script),
        source_dir=None if source_dir is None else Path(source_dir),
        data=[channel(called, os.fspath(place)) for called, place in placed.items()],
        hyperparameters=hyperparameters,
        metrics=[metric_definition(called, regex) for called, regex in (metrics or {}).items()],
        instance_type=instance_type,
        max_runtime=max_runtime,
        name=name,
    )

    def show(event: Event) -> None:
        if isinstance(event, LogEvent):
            on_log(event.text)

    executor = LocalExecutor()
    try:
        return result_of(executor, executor.submit(spec, Path(script).stem), show).check()
    finally:
        executor.close()


def tune(
    data: str | os.PathLike[str],
    space: Mapping[str, Any] | Space | None = None,
    *,
    trials: int = 20,
    objective: str | None = None,
    strategy: str = "default",
    target: float | None = None,
    patience: int | None = None,
    early_stopping: EarlyStopping = "auto",
    seeds: int = 1,
    finalists: int = 4,
    finalist_seeds: int = 5,
    warm_start: Sequence[str] = (),
    study: str | None = None,
    backbone: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    random_init: bool = False,
    seed: int = 0,
    minutes: float | None = None,
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
) -> FitResult:
    """Search for the hyperparameters of a head, and train, evaluate and save the winner.

    ``result.search`` tells the trials: ``result.search.analytics().dataframe()``.

    Parameters
    ----------
    data, backbone, weights, random_init, seed, minutes, name, source, gate:
        As for :func:`fit`.
    space:
        Parameters by name: :class:`~vizsla.tuning.space.ContinuousParameter`,
        :class:`~vizsla.tuning.space.IntegerParameter`, :class:`~vizsla.tuning.space.CategoricalParameter`, lists of
        values, texts such as ``"0.001..0.1:log"``, and values that stay the same. By default learning rate, weight
        decay and batch size.
    trials:
        Most trials.
    objective:
        ``valid_loss`` (the default) or ``valid_accuracy``. The test split is refused.
    strategy, target, patience, early_stopping, seeds, finalists, finalist_seeds, warm_start, study:
        See :class:`vizsla.tuning.request.SearchRequest` and docs/tune.md.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.
    """
    request = SearchRequest(
        space=None if space is None else own_space(space if isinstance(space, Space) else Space.of(space)),
        objective=own_objective(objective),
        strategy=strategy,
        limits=Limits(max_jobs=trials, target=target, patience=patience),
        early_stopping=early_stopping,
        seeds=seeds,
        finalists=finalists,
        finalist_seeds=finalist_seeds,
        warm_start=tuple(warm_start),
        study=study,
    )
    return _fit(
        FitRequest(
            os.fspath(data),
            backbone,
            None if weights is None else Path(weights),
            random_init,
            HeadConfig(seed=seed),
            minutes,
            name,
            source or SourceOptions(),
            gate or GateOptions(),
            request,
        )
    )
