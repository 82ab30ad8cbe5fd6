"""Training jobs: a request becomes a job here, and any training here is told in AWS's words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.outputs import model_uri, show_while_it_runs
from vizsla.aws.requests import checked_name, moment, page, present
from vizsla.aws.runners import request_of, runner_of
from vizsla.aws.sagemaker.local_document import checked_role, training_document
from vizsla.aws.sagemaker.rules import profiler_statuses, rule_statuses
from vizsla.aws.sagemaker.trials import request_of_trial
from vizsla.errors import JobError, VizslaError
from vizsla.jobs import controller
from vizsla.jobs.directory import NAME_PATTERN, JobDirectory
from vizsla.jobs.growing import size
from vizsla.jobs.metrics import Metric, last_metrics
from vizsla.jobs.spec import TrainingJobSpec, file_uri
from vizsla.jobs.states import State

_NOT_FOUND = "Requested resource not found."
_SECONDARY = {
    "Pending": "Starting",
    "InProgress": "Training",
    "Stopping": "Stopping",
    "Completed": "Completed",
    "Failed": "Failed",
    "Stopped": "Stopped",
}
_MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training in progress",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds",
}
_LIMIT = re.compile("MaxRuntimeInSeconds")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateTrainingJob."""
    name = checked_name(request, "TrainingJobName")
    checked_role(request)
    arn = ctx.arn("training-job", name)
    if (ctx.home / name).exists():
        raise taken("Training job", arn)
    document = training_document(ctx, request)
    try:
        job = runner_of(ctx.home).submit(TrainingJobSpec.read(document), request)
    except VizslaError as error:
        if isinstance(error, JobError) and (ctx.home / name / "job.json").exists():
            raise taken("Training job", arn) from error
        raise
    show_while_it_runs(ctx.home, job, document)
    tags.keep(ctx, arn, request)
    return {"TrainingJobArn": arn}


def taken(what: str, arn: str) -> AwsError:
    """A name that is in use."""
    return AwsError(
        "ResourceInUse",
        f"{what} names must be unique within an AWS account and region, and a {what.lower()} with this name already "
        f"exists ({arn})",
    )


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeTrainingJob."""
    return described(ctx, find(ctx, checked_name(request, "TrainingJobName")))


def stop(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """StopTrainingJob."""
    stop_job(ctx, find(ctx, checked_name(request, "TrainingJobName")), "training job")
    return {}


def stop_job(ctx: Context, job: JobDirectory, what: str) -> None:
    """Ask any job to end.

    Raises
    ------
    AwsError
        When it has ended.
    """
    state = runner_of(ctx.home).state(job)
    if state.has_ended:
        raise invalid(f"The request was rejected because the {what} is in status {state.status}.")
    runner_of(ctx.home).stop(job, "stopped by a client of SageMaker")


def list_jobs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTrainingJobs."""
    return page(summaries(ctx), request, key="TrainingJobSummaries", name="TrainingJobName")


def update(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateTrainingJob: turns the profiler of a running job on or off."""
    job = find(ctx, checked_name(request, "TrainingJobName"))
    if job.state.has_ended:
        raise invalid(f"The training job {job.name} has ended: there is nothing to update.")
    return {"TrainingJobArn": ctx.arn("training-job", job.name)}


def find(ctx: Context, name: str) -> JobDirectory:
    """The training of this name.

    Raises
    ------
    AwsError
        When there is none.
    """
    job = find_job(ctx, name, ("train",))
    if job is None:
        raise invalid(_NOT_FOUND)
    return job


def find_job(ctx: Context, name: str, kinds: tuple[str, ...]) -> JobDirectory | None:
    """The job of this name, if it is of one of these kinds."""
    if not NAME_PATTERN.fullmatch(name) or not (ctx.home / name / "job.json").is_file():
        return None
    job = JobDirectory.open(ctx.home / name)
    return job if job.kind in kinds else None


def each(ctx: Context, *kinds: str) -> Iterator[controller.Summary]:
    """The jobs of these kinds."""
    return (summary for summary in controller.summaries(ctx.home) if summary.kind in kinds)


def summaries(ctx: Context) -> Iterator[dict[str, Any]]:
    """All trainings as rows of a list."""
    for one in each(ctx, "train"):
        yield present(
            {
                "TrainingJobName": one.name,
                "TrainingJobArn": ctx.arn("training-job", one.name),
                "CreationTime": moment(one.created),
                "LastModifiedTime": moment(one.ended or one.started or one.created),
                "TrainingEndTime": moment(one.ended),
                "TrainingJobStatus": aws_status(one.status),
                "SecondaryStatus": _SECONDARY.get(one.status),
            }
        )


def aws_status(status: str) -> str:
    """A job's state as AWS calls it: one that waits for its turn is InProgress."""
    return "InProgress" if status == "Pending" else status


def described(ctx: Context, job: JobDirectory) -> dict[str, Any]:
    """A training in the members of DescribeTrainingJob: the request, and what became of it."""
    state = runner_of(ctx.home).state(job)
    request = request_of(job) or request_of_trial(ctx, job) or job.document
    spec = TrainingJobSpec.read(job.document)
    secondary = _secondary(state)
    seconds = _seconds(state)
    algorithm = request.get("AlgorithmSpecification") or {}
    resources = request.get("ResourceConfig") or {}
    output = request.get("OutputDataConfig") or {}
    debugged = rule_statuses(ctx, job, spec)
    profiled = profiler_statuses(ctx, request, job, state)
    members = request | {
        "TrainingJobName": job.name,
        "TrainingJobArn": ctx.arn("training-job", job.name),
        "TrainingJobStatus": aws_status(state.status),
        "SecondaryStatus": secondary,
        "SecondaryStatusTransitions": _transitions(state, secondary),
        "FailureReason": _failure(state),
        "CreationTime": moment(state.created),
        "LastModifiedTime": moment(state.updated),
        "TrainingStartTime": moment(state.started),
        "TrainingEndTime": moment(state.ended),
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
        "ModelArtifacts": {"S3ModelArtifacts": model_uri(request, job.name) or _own_model(job)},
        "RoleArn": request.get("RoleArn") or f"arn:aws:iam::{ctx.account}:role/vizsla",
        "AlgorithmSpecification": {"TrainingInputMode": "File", "MetricDefinitions": []} | algorithm,
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "local", "VolumeSizeInGB": 30} | resources,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400} | (request.get("StoppingCondition") or {}),
        "OutputDataConfig": {"S3OutputPath": file_uri(job.output), "KmsKeyId": ""} | output,
        "HyperParameters": request.get("HyperParameters") or {},
        "InputDataConfig": request.get("InputDataConfig") or None,
        "FinalMetricDataList": _metrics(job, spec),
        "DebugRuleEvaluationStatuses": debugged or None,
        "ProfilerRuleEvaluationStatuses": profiled or None,
        "ProfilingStatus": "Disabled" if "ProfilerConfig" not in request else "Enabled",
        "TuningJobArn": ctx.arn("hyper-parameter-tuning-job", job.parent) if job.parent else None,
    }
    members["AlgorithmSpecification"]["MetricDefinitions"] = (
        members["AlgorithmSpecification"]["MetricDefinitions"] or []
    )
    return present({name: value for name, value in members.items() if name != "Tags"})


def _own_model(job: JobDirectory) -> str:
    return file_uri(job.output / "model.tar.gz")


def _secondary(state: State) -> str:
    if state.status == "Stopped" and _LIMIT.search(state.reason or ""):
        return "MaxRuntimeExceeded"
    return _SECONDARY[state.status]


def _seconds(state: State) -> int | None:
    began, end = moment(state.started), moment(state.ended)
    return None if began is None or end is None else max(1, round((end - began).total_seconds()))


def _transitions(state: State, last: str) -> list[dict[str, Any]]:
    """The states so far, each with the message that the SDK prints."""
    rows: list[tuple[str, str | None]] = [("Starting", state.created)]
    if state.started is not None:
        rows += [("Downloading", state.started), ("Training", state.started)]
    if state.has_ended:
        rows += [("Uploading", state.ended)] if state.status == "Completed" else []
        rows += [(last, state.ended)]
    ends = [*(start for _, start in rows[1:]), state.ended]
    return [
        present(
            {
                "Status": status,
                "StartTime": moment(start),
                "EndTime": moment(end),
                "StatusMessage": _failure(state) if status == "Failed" else _MESSAGES[status],
            }
        )
        for (status, start), end in zip(rows, ends, strict=True)
    ]


def _failure(state: State) -> str | None:
    if state.status != "Failed":
        return None
    return f"AlgorithmError: {state.reason or 'no reason was given'}"[:1024]


def _metrics(job: JobDirectory, spec: TrainingJobSpec) -> list[dict[str, Any]] | None:
    asked = {definition.name for definition in spec.algorithm_specification.metric_definitions or []}
    found = [
        {"MetricName": metric.name, "Value": metric.value, "Timestamp": moment(metric.time)}
        for metric in _last_metrics(job.metrics, size(job.metrics)).values()
        if not asked or metric.name in asked
    ]
    return found or None


@functools.lru_cache(maxsize=256)
def _last_metrics(path: Path, size: int) -> dict[str, Metric]:
    """The last value of each metric; the file only grows, so that its size tells whether it was read already."""
    return last_metrics(path)
