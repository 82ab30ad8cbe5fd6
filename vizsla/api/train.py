"""``vizsla.train``: a user's script as a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vizsla.api.inputs import Data, PathLike, script_job
from vizsla.jobs.events import Event, LogEvent
from vizsla.jobs.executors import open_executor
from vizsla.jobs.hyperparameter_input import HyperparameterInput
from vizsla.jobs.result import JobResult, result_of


def _print_log(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def train(
    script: PathLike,
    *,
    source_dir: PathLike | None = None,
    data: Data | None = None,
    hyperparameters: HyperparameterInput = (),
    metrics: Mapping[str, str] | None = None,
    instance_type: str = "local",
    minutes: float | None = None,
    name: str | None = None,
    executor: str = "local",
    on_log: Callable[[str], object] | None = None,
    progress: bool = True,
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
        Become ``--name value``: a mapping, pairs, a JSON object or a file.
    metrics:
        Regular expressions by name: the first group in a line of the log is a value.
    instance_type:
        ``local`` is all of this machine, ``local-1cpu`` a share.
    minutes:
        Most minutes that it may run.
    executor:
        ``local`` runs it in a process of its own; ``debug`` in this one, so that breakpoints work; ``ray``, or
        ``ray://HOST:PORT``, on a node of a cluster; ``sagemaker`` at AWS.
    on_log:
        Is given the log as it is written; by default it is printed.
    progress:
        Whether ``on_log`` is called.

    Raises
    ------
    VizslaError
        When it cannot be meant, or failed.

    Examples
    --------
    >>> vizsla.train(  # doctest: +SKIP
    ...     "train.py", data="photos", hyperparameters={"lr": 0.1}, metrics={"loss": "loss: ([0-9.]+)"}
    ... )
    JobResult('train-train-2026-11-29-10-00-00-000', Completed, loss=0.31)
    """
    limits: dict[str, Any] = {"instance_type": instance_type, "minutes": minutes, "name": name}
    spec = script_job(script, source_dir, data, metrics, hyperparameters=hyperparameters, **limits)
    runs = open_executor(executor)
    show_log = on_log or _print_log

    def show(event: Event) -> None:
        if progress and isinstance(event, LogEvent) and (on_log or not runs.echoes):
            show_log(event.text)

    try:
        return result_of(runs, runs.submit(spec, Path(script).stem), show).check()
    finally:
        runs.close()
