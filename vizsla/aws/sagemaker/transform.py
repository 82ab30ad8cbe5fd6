"""Batch transforms: a request becomes a job here, and any transform here is told in AWS's words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.requests import checked_name, moment, page, present
from vizsla.aws.runners import request_of, runner_of
from vizsla.aws.sagemaker import models
from vizsla.aws.sagemaker.local_document import local_address, output_address
from vizsla.aws.sagemaker.training import aws_status, each, find_job, stop_job, taken
from vizsla.batch.document import TransformJob
from vizsla.batch.models import ALLOW_CODE
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.spec import file_uri
from vizsla.workflow.batch_transform import check

_ACCEPTED = ("TransformJobName", "MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy", "TransformInput",
             "TransformOutput", "TransformResources", "DataProcessing", "ModelClientConfig")  # fmt: skip


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateTransformJob."""
    name = checked_name(request, "TransformJobName")
    arn = ctx.arn("transform-job", name)
    if (ctx.home / name).exists():
        raise taken("Transform job", arn)
    served = models.served(ctx, models.MODELS.find(ctx, request["ModelName"]))
    if served.is_multi_model:
        raise invalid("A model of many models cannot be transformed with: nothing says which of them is meant.")
    document: dict[str, Any] = json.loads(json.dumps({key: request[key] for key in _ACCEPTED if key in request}))
    source = document["TransformInput"]["DataSource"]["S3DataSource"]
    source["S3Uri"] = local_address(ctx, source["S3Uri"])
    output = document["TransformOutput"]
    output["S3OutputPath"] = output_address(ctx, output["S3OutputPath"], "transformOutput.s3OutputPath")
    output.pop("KmsKeyId", None)
    document["ModelName"] = served.place
    document["Environment"] = served.environment | (request.get("Environment") or {}) | {ALLOW_CODE: "1"}
    asked = TransformJob.read(document)
    check(asked)
    plain = asked.to_dict()
    runner_of(ctx.home).submit(kind_of("transform").spec(plain), request, kind="transform", document=plain)
    tags.keep(ctx, arn, request)
    return {"TransformJobArn": arn}


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeTransformJob."""
    job = _find(ctx, checked_name(request, "TransformJobName"))
    state = runner_of(ctx.home).state(job)
    asked = request_of(job) or _as_request(job)
    return present(
        {name: value for name, value in asked.items() if name != "Tags"}
        | {
            "TransformJobName": job.name,
            "TransformJobArn": ctx.arn("transform-job", job.name),
            "TransformJobStatus": aws_status(state.status),
            "CreationTime": moment(state.created),
            "TransformStartTime": moment(state.started),
            "TransformEndTime": moment(state.ended),
            "FailureReason": state.reason if state.status == "Failed" else None,
        }
    )


def stop(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """StopTransformJob."""
    stop_job(ctx, _find(ctx, checked_name(request, "TransformJobName")), "transform job")
    return {}


def list_jobs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTransformJobs."""
    return page(_rows(ctx), request, key="TransformJobSummaries", name="TransformJobName")


def _rows(ctx: Context) -> Iterator[dict[str, Any]]:
    for one in each(ctx, "transform"):
        yield present(
            {
                "TransformJobName": one.name,
                "TransformJobArn": ctx.arn("transform-job", one.name),
                "CreationTime": moment(one.created),
                "TransformEndTime": moment(one.ended),
                "LastModifiedTime": moment(one.ended or one.started or one.created),
                "TransformJobStatus": aws_status(one.status),
                "FailureReason": one.reason if one.status == "Failed" else None,
            }
        )


def _find(ctx: Context, name: str) -> JobDirectory:
    job = find_job(ctx, name, ("transform",))
    if job is None:
        raise invalid(f"Could not find transform job with name {name}.")
    return job


def _as_request(job: JobDirectory) -> dict[str, Any]:
    """A transform that another door started, as a client would have asked for it."""
    document = dict(job.document)
    output = dict(document.get("TransformOutput") or {})
    resources = dict(document.get("TransformResources") or {})
    return document | {
        "ModelName": "vizsla",
        "TransformOutput": output | {"S3OutputPath": output.get("S3OutputPath") or file_uri(job.output)},
        "TransformResources": {"InstanceCount": 1, "InstanceType": "local"} | resources,
    }
