"""Processing jobs: scripts run as they are, and Clarify's analyses are ours; any of our evaluations, explanations and
analyses is told in AWS's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.aws import images, tags
from vizsla.aws.clarify import analysis_of
from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.requests import checked_name, moment, page, present
from vizsla.aws.runners import request_of, runner_of
from vizsla.aws.sagemaker.local_document import checked_role, local_file, output_address, processing_document
from vizsla.aws.sagemaker.training import aws_status, each, find_job, stop_job, taken
from vizsla.files import storage
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.spec import local_path

KINDS = ("bias", "explain", "evaluate", "process")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateProcessingJob."""
    name = checked_name(request, "ProcessingJobName")
    checked_role(request)
    arn = ctx.arn("processing-job", name)
    if (ctx.home / name).exists():
        raise taken("Processing job", arn)
    if images.is_clarify(request):
        _submit_analysis(ctx, request)
    else:
        document = processing_document(ctx, request)
        runner_of(ctx.home).submit(kind_of("process").spec(document), request, kind="process", document=document)
    tags.keep(ctx, arn, request)
    return {"ProcessingJobArn": arn}


def _submit_analysis(ctx: Context, request: dict[str, Any]) -> None:
    inputs = {entry["InputName"]: entry for entry in request.get("ProcessingInputs") or []}
    config = local_file(ctx, _input(inputs, "analysis_config"))
    if config.is_dir():
        config = config / "analysis_config.json"
    data = local_file(ctx, _input(inputs, "dataset"))
    asked = json.loads(config.read_bytes())
    analysis = analysis_of(ctx, asked, config, data, _output(ctx, request))
    name = {"training_job_name": request["ProcessingJobName"]}
    spec = kind_of(analysis.kind).spec(analysis.document).model_copy(update=name)
    kept = request if analysis.note is None else request | {"ExitMessage": analysis.note}
    runner_of(ctx.home).submit(spec, kept, kind=analysis.kind, document=analysis.document)


def _input(inputs: dict[str, dict[str, Any]], name: str) -> str:
    entry = inputs.get(name) or {}
    address = (entry.get("S3Input") or {}).get("S3Uri")
    if not address:
        raise invalid(f"Clarify's processing job has no input {name!r} with an S3Uri.")
    return str(address)


def _output(ctx: Context, request: dict[str, Any]) -> Path:
    outputs = (request.get("ProcessingOutputConfig") or {}).get("Outputs") or []
    address = next((one["S3Output"]["S3Uri"] for one in outputs if one.get("S3Output")), None)
    if address is None:
        raise invalid("ProcessingOutputConfig names no output.")
    path = local_path(output_address(ctx, address, "processingOutputConfig.outputs.s3Output.s3Uri"))
    if path is None:
        raise invalid(f"Results cannot be written to {address}.")
    with storage(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeProcessingJob."""
    job = find(ctx, checked_name(request, "ProcessingJobName"))
    state = runner_of(ctx.home).state(job)
    asked = request_of(job) or {
        "AppSpecification": {"ImageUri": "local"},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "local", "VolumeSizeInGB": 30},
        },
    }
    return present(
        {name: value for name, value in asked.items() if name != "Tags"}
        | {
            "ProcessingJobName": job.name,
            "ProcessingJobArn": ctx.arn("processing-job", job.name),
            "ProcessingJobStatus": aws_status(state.status),
            "CreationTime": moment(state.created),
            "ProcessingStartTime": moment(state.started),
            "ProcessingEndTime": moment(state.ended),
            "LastModifiedTime": moment(state.updated),
            "FailureReason": state.reason if state.status == "Failed" else None,
            "ExitMessage": state.reason[:1024]
            if state.status == "Failed" and state.reason
            else asked.get("ExitMessage"),
        }
    )


def stop(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """StopProcessingJob."""
    stop_job(ctx, find(ctx, checked_name(request, "ProcessingJobName")), "processing job")
    return {}


def list_jobs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListProcessingJobs."""
    return page(_rows(ctx), request, key="ProcessingJobSummaries", name="ProcessingJobName")


def _rows(ctx: Context) -> Iterator[dict[str, Any]]:
    for one in each(ctx, *KINDS):
        yield present(
            {
                "ProcessingJobName": one.name,
                "ProcessingJobArn": ctx.arn("processing-job", one.name),
                "CreationTime": moment(one.created),
                "ProcessingEndTime": moment(one.ended),
                "LastModifiedTime": moment(one.ended or one.started or one.created),
                "ProcessingJobStatus": aws_status(one.status),
                "FailureReason": one.reason if one.status == "Failed" else None,
            }
        )


def find(ctx: Context, name: str) -> JobDirectory:
    """The processing job of this name.

    Raises
    ------
    AwsError
        When there is none.
    """
    job = find_job(ctx, name, KINDS)
    if job is None:
        raise invalid(f"Could not find requested job with name: {name}")
    return job
