"""What a job left: how it ended, its model, the last value of each metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.errors import JobError
from vizsla.jobs.controller import follow
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Cursor, Event, Handle
from vizsla.jobs.executors.base import Executor
from vizsla.jobs.metrics import last_metrics
from vizsla.jobs.pack import ARCHIVE, holds_anything
from vizsla.jobs.states import State
from vizsla.notebook import Shown


@dataclass(frozen=True)
class JobResult(Shown):
    """A job that has ended.

    Examples
    --------
    >>> vizsla.train("train.py", data="photos", hyperparameters={"lr": 0.1})  # doctest: +SKIP
    JobResult('train-photos', Completed, loss=0.31)
    """

    job: Path
    """Its directory."""
    state: State
    metrics: dict[str, float]
    """The last value of each name."""
    archive: Path | None
    """``model.tar.gz``, where the job saved a model and it was packed."""
    model: Path | None
    """The folder of the saved model, where the job completed with one, or stopped with a packed one."""
    missing_metrics: dict[str, str | None] = field(default_factory=dict)
    """Metrics that were defined and have no value: what was found in the place of a number, None where nothing was."""

    def __repr__(self) -> str:
        values = "".join(f", {name}={value:g}" for name, value in self.metrics.items())
        return f"JobResult({self.job.name!r}, {self.state.status}{values})"

    def check(self) -> JobResult:
        """Return the result, unless the job failed.

        Raises
        ------
        JobError
            With the reason of the failure.
        """
        if self.state.status == "Failed":
            raise JobError(
                f"Job {self.job.name!r} failed: {self.state.reason}.",
                where=self.job,
                do=f"`vizsla jobs logs {self.job.name}` shows its log; `vizsla jobs resume {self.job.name}` goes on",
            )
        return self

    def rule_job_summary(self) -> list[dict[str, Any]]:
        """What the debugger's rules say, as SageMaker's ``DebugRuleEvaluationStatuses``."""
        from vizsla.jobs.kinds import kind_of
        from vizsla.jobs.rule_watch import rule_job_summary

        job = JobDirectory.open(self.job)
        return rule_job_summary(job, kind_of(job.kind).spec(job.document))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla train --json`` prints."""
        return {
            "name": self.job.name,
            "job": str(self.job),
            "status": self.state.status,
            "reason": self.state.reason,
            "exit_code": self.state.exit_code,
            "metrics": self.metrics,
            "missing_metrics": self.missing_metrics,
            "archive": None if self.archive is None else str(self.archive),
        }


def result_of(
    executor: Executor,
    handle: Handle,
    on_event: Callable[[Event], None] = lambda event: None,
    since: Cursor | None = None,
) -> JobResult:
    """Follow a job to its end; Ctrl-C stops it, as :func:`vizsla.jobs.controller.follow` says."""
    state = follow(executor, handle, on_event, since)
    archive = None if state.status == "Failed" else _fetched(executor, handle, f"output/{ARCHIVE}")
    folder = _fetched(executor, handle, "model") if archive is not None or state.ended_well else None
    return JobResult(
        job=handle.path,
        state=state,
        metrics={name: metric.value for name, metric in last_metrics(handle.path / "metrics.jsonl").items()},
        archive=archive if archive is not None and archive.is_file() else None,
        missing_metrics=state.missing_metrics,
        model=folder if folder is not None and holds_anything(folder) else None,
    )


def _fetched(executor: Executor, handle: Handle, path: str) -> Path | None:
    try:
        return executor.fetch(handle, path)
    except JobError:  # it left none
        return None
