"""What would be sent to SageMaker, what it may cost, and how long the same took here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors import open_executor
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.executors.sagemaker import SageMakerExecutor
from vizsla.jobs.handover import load
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.metrics import last_metrics
from vizsla.jobs.sagemaker_account import VARIABLE, Account
from vizsla.jobs.sagemaker_document import Cost, Request, cost_of
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.parameters import spelled
from vizsla.workflow import sagemaker_search
from vizsla.workflow.request import RESULT
from vizsla.workflow.script_search import ScriptSearch, searched


@dataclass(frozen=True)
class RunHere:
    """The last completed job here with the same script, or of the built-in training on the same data: its name, how
    long it took, and its last metrics."""

    job: str
    seconds: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class DryRun:
    """What would be sent, its price, and what is known from here."""

    request: Request
    cost: Cost | None
    here: RunHere | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "operation": self.request.operation,
            "request": self.request.parameters,
            "cost": None if self.cost is None else vars(self.cost),
            "here": None if self.here is None else vars(self.here),
        }

    def lines(self) -> list[str]:
        """For a person."""
        kind, count = self.request.resources
        if self.cost is None:
            lines = [f"cost    unknown: no price of {kind} in the file that {VARIABLE} names ([prices])"]
        else:
            most = "" if self.cost.most is None else f", at most {self.cost.most:,.2f} within its time limit"
            lines = [f"cost    {self.cost.hour:,.2f} {self.cost.currency} an hour on {count} x {kind}{most}"]
        if self.here is not None:
            same = ""
            if self.cost is not None:
                same = (
                    f"; as long there would cost {self.cost.hour * self.here.seconds / 3600:,.2f} {self.cost.currency}"
                )
            values = "".join(f", {name} {value:g}" for name, value in sorted(self.here.metrics.items())[:6])
            lines.append(f"here    {self.here.job} took {self.here.seconds:,.0f} s{same}{values}")
        return lines


def dry_run(executor: Executor, spec: TrainingJobSpec, about: str) -> DryRun:
    """What :meth:`Executor.submit` would send; nothing is sent.

    Raises
    ------
    VizslaError
        When it could not be sent, or the executor sends nothing.
    """
    request = _sending(executor).preview(spec, about)
    return DryRun(request, cost_of(request, Account.read()), _last_run(executor.home, spec))


def dry_run_search(request: ScriptSearch) -> DryRun:
    """What a search would send.

    Raises
    ------
    VizslaError
        As :func:`dry_run`.
    """
    executor = open_executor(request.executor)
    _sending(executor)
    space = searched(request)
    sent = sagemaker_search.preview(request.search, space, request.spec, request.name or request.base_name)
    return DryRun(sent, cost_of(sent, Account.read()), _last_run(executor.home, request.spec))


def _sending(executor: Executor) -> SageMakerExecutor:
    if isinstance(executor, SageMakerExecutor):
        return executor
    raise UsageError(
        f"The executor {executor.name} sends no request: there is nothing to show.",
        parameter="dry_run",
        allowed=spelled("executor", "sagemaker"),
    )


def _last_run(home: Path, spec: TrainingJobSpec) -> RunHere | None:
    for path in sorted(home.glob("*/job.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            job = JobDirectory.open(path.parent)
            state = job.state
            here = job.executor != SageMakerExecutor.name and state.ended_well and job.kind == "train"
            if not here or not _is_same(kind_of(job.kind).spec(job.document), spec):
                continue
        except VizslaError:
            continue
        if state.started is not None and state.ended is not None:
            seconds = (datetime.fromisoformat(state.ended) - datetime.fromisoformat(state.started)).total_seconds()
            metrics = {name: metric.value for name, metric in last_metrics(job.metrics).items()}
            speed = (load(job.output / RESULT) or {}).get("images_per_second")  # of the built-in training
            return RunHere(job.name, seconds, metrics | ({"images_per_second": speed} if speed else {}))
    return None


def _is_same(one: TrainingJobSpec, other: TrainingJobSpec) -> bool:
    """Whether both run the same script, or the built-in training on the same data."""
    scripts = [spec.hyper_parameters.get("sagemaker_program") for spec in (one, other)]
    if any(scripts):
        return scripts[0] == scripts[1]
    data = [[channel.uri for channel in spec.input_data_config] for spec in (one, other)]
    return data[0] == data[1] and all(spec.algorithm_specification.is_builtin for spec in (one, other))
