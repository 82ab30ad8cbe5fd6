"""``vizsla.tune``: a search over heads, or over a user's script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from vizsla.api.fit import fit
from vizsla.api.inputs import Data, PathLike, script_job
from vizsla.data.gate import GateOptions
from vizsla.data.sources import SourceOptions
from vizsla.errors import UsageError
from vizsla.jobs.hyperparameter_input import HyperparameterInput
from vizsla.progress.watching import watching
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Direction
from vizsla.tuning.space import Space
from vizsla.tuning.strategies import EarlyStopping
from vizsla.workflow.request import FitResult
from vizsla.workflow.script_search import ScriptSearch, ScriptSearchResult, search_request, tune_script


@overload
def tune(
    data: PathLike, space: Mapping[str, Any] | Space | None = ..., *, script: None = ..., **options: Any
) -> FitResult: ...
@overload
def tune(
    data: Data | None = ..., space: Mapping[str, Any] | Space | None = ..., *, script: PathLike, **options: Any
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
    hyperparameters: HyperparameterInput = (),
    preset: str | None = None,
    backbone: str | None = None,
    weights: PathLike | None = None,
    random_init: bool = False,
    size: int | None = None,
    seed: int = 0,
    minutes: float | None = None,
    name: str | None = None,
    source: SourceOptions | None = None,
    gate: GateOptions | None = None,
    script: PathLike | None = None,
    source_dir: PathLike | None = None,
    metrics: Mapping[str, str] | None = None,
    instance_type: str | None = None,
    max_parallel: int | None = None,
    executor: str = "local",
    progress: bool = True,
) -> FitResult | ScriptSearchResult:
    """Search for the hyperparameters of a head, and train, evaluate and save the winner; or for those of a script.

    ``result.search`` tells the trials: ``result.search.dataframe()``.

    Parameters
    ----------
    data, backbone, weights, random_init, size, seed, minutes, name, source, gate, progress:
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
        Values that stay the same in every trial: a mapping, pairs, a JSON object or a file.
    preset:
        Ranges and values by one name, ``last-layer-sgd`` or ``last-layer-adam``; a ``space`` comes in place of the
        ranges.
    strategy, target, patience, early_stopping, seeds, finalists, finalist_seeds, warm_start, study:
        See :class:`vizsla.SearchRequest`, :class:`vizsla.SearchLimits` and docs/tune.md.
    executor:
        What runs a script's trials, as for :func:`train`; without a script, what looks at pictures, as for :func:`fit`.
    script, source_dir, metrics, instance_type, max_parallel:
        Your own script, run unmodified as a job for each trial, at most ``max_parallel`` at a time; ``data`` and these
        are as for :func:`train`.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong.

    Examples
    --------
    >>> vizsla.tune("photos", {"lr": ContinuousParameter(0.001, 0.1)})  # doctest: +SKIP
    >>> vizsla.tune(  # doctest: +SKIP
    ...     {"train": "a", "val": "b"}, {"lr": "0.001..0.1"}, script="hpo.py", metrics={"loss": "loss=(.*)"}
    ... )
    """
    space = None if space is None else space if isinstance(space, Space) else Space.of(space)
    options: dict[str, Any] = {
        "strategy": strategy,
        "early_stopping": early_stopping,
        "finalist_seeds": finalist_seeds,
        "warm_start": tuple(warm_start),
        "study": study,
    }
    if script is not None:
        own: dict[str, Any] = {
            "seeds": seeds != 1,
            "backbone": backbone,
            "weights": weights,
            "random_init": random_init,
        }
        own |= {"size": size, "preset": preset}
        _check_effect(own | {"source": source, "gate": gate}, "a search with a script")
        limits = SearchLimits(trials, max_parallel, minutes, target, patience)
        names = list(metrics or {})
        search = search_request(space, objective, direction, names, finalists, limits=limits, seed=seed, **options)
        spec = script_job(script, source_dir, data, metrics)
        request = ScriptSearch.with_fixed(
            spec, search, hyperparameters, instance_type, Path(script).stem, name, executor
        )
        with watching(progress, trials=True) as observer:
            return tune_script(request, observer)
    scripts = {"source_dir": source_dir, "metrics": metrics, "instance_type": instance_type}
    _check_effect(scripts | {"max_parallel": max_parallel}, "a search without a script")
    if data is None or isinstance(data, Mapping):
        raise UsageError("Heads are trained on one data set.", where="vizsla.tune(data=...)", allowed="a path")
    limits = SearchLimits(trials=trials, target=target, patience=patience)
    search = search_request(space, objective, direction, None, finalists, limits=limits, seeds=seeds, **options)
    return fit(
        data,
        backbone=backbone,
        weights=weights,
        random_init=random_init,
        size=size,
        hyperparameters=hyperparameters,
        tune=search,
        seed=seed,
        preset=preset,
        minutes=minutes,
        executor=executor,
        name=name,
        source=source,
        gate=gate,
        progress=progress,
    )


def _check_effect(options: Mapping[str, object], what: str) -> None:
    if idle := [option for option, value in options.items() if value]:
        raise UsageError(f"{', '.join(idle)} would have no effect in {what}.", where="vizsla.tune", do="leave it out")
