"""A job as the request that SageMaker takes: CreateTrainingJob or CreateTransformJob, and what it may cost."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.sagemaker_account import VARIABLE, Account, problems
from vizsla.jobs.spec import TrainingJobSpec

_LONGEST_NAME = 63
_DEFAULT_SECONDS = 86_400
_DEFAULT_GB = 30


@dataclass(frozen=True)
class Request:
    """What is sent: the name of an operation of SageMaker, and its parameters."""

    operation: str
    parameters: dict[str, Any]

    @property
    def resources(self) -> tuple[str, int]:
        """Type and number of the instances."""
        config = self._one.get("ResourceConfig") or self._one["TransformResources"]
        return config["InstanceType"], config["InstanceCount"] * self._limits.get("MaxParallelTrainingJobs", 1)

    @property
    def seconds(self) -> int | None:
        """The longest time it may run; None where there is no limit."""
        limit = self._one.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
        turns = -(-self._trials // self._limits.get("MaxParallelTrainingJobs", 1))
        return None if limit is None else min(int(limit) * turns, self._limits.get("MaxRuntimeInSeconds", sys.maxsize))

    @property
    def _trials(self) -> int:
        """How many there may be: of a grid, which counts itself, all combinations."""
        config = self.parameters.get("HyperParameterTuningJobConfig", {})
        values = config.get("ParameterRanges", {}).get("CategoricalParameterRanges", ())
        if config.get("Strategy") == "Grid":
            return math.prod(len(one["Values"]) for one in values)
        return int(self._limits.get("MaxNumberOfTrainingJobs", 1))

    @property
    def _one(self) -> dict[str, Any]:
        """The job; of a search, one of its trials."""
        one: dict[str, Any] = self.parameters.get("TrainingJobDefinition", self.parameters)
        return one

    @property
    def _limits(self) -> dict[str, Any]:
        """Of a search, how many trials there may be, at once and in all, and for how long."""
        limits: dict[str, Any] = self.parameters.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {})
        return limits

    def check(self) -> None:
        """That the service's model has no objection.

        Raises
        ------
        UsageError
            Naming the first field that cannot be sent.
        """
        if wrong := problems(self.operation, self.parameters):
            more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UsageError(f"SageMaker would refuse the request: {wrong[0]}{more}.", where=self.operation)


def name_at_aws(name: str, attempt: int) -> str:
    """A job's name there: names are given once for ever, so that another attempt has another one."""
    suffix = "" if attempt == 1 else f"-{attempt}"
    return name[: _LONGEST_NAME - len(suffix)].rstrip("-") + suffix


def preview_places(spec: TrainingJobSpec, account: Account) -> tuple[str | None, dict[str, str]]:
    """The addresses that a job's code and channels would have when they were sent."""
    bucket, prefix = account.place()
    code = f"s3://{bucket}/{prefix}code/CONTENT/sourcedir.tar.gz" if spec.script else None
    return code, {
        channel.channel_name: f"s3://{bucket}/{prefix}data/{channel.path.name}/" if channel.path else channel.uri
        for channel in spec.input_data_config
    }


def training_request(
    spec: TrainingJobSpec, account: Account, name: str, attempt: int, code: str | None, channels: Mapping[str, str]
) -> Request:
    """The CreateTrainingJob request of a job.

    Parameters
    ----------
    code:
        Address of its ``sourcedir.tar.gz``, of a script.
    channels:
        Addresses of the data, by the channel.

    Raises
    ------
    UsageError
        When it is not said what AWS must know, or a field cannot be sent.
    """
    bucket, prefix = account.place()
    document = spec.to_dict()
    algorithm, resources = document["AlgorithmSpecification"], document["ResourceConfig"]
    if spec.algorithm_specification.is_builtin:
        del algorithm["ContainerEntrypoint"]  # the image's own
        image = _needed(account.fit_image, "fit_image", "the image of the built-in training")
        algorithm.setdefault("TrainingImage", image)
    elif "AlgorithmName" not in algorithm:
        algorithm.setdefault("TrainingImage", _needed(account.image, "image", "the image that runs scripts"))
    hyper = dict(document.get("HyperParameters", {}))
    if code is not None:
        hyper["sagemaker_submit_directory"] = json.dumps(code)
        hyper |= {"sagemaker_job_name": json.dumps(name), "sagemaker_container_log_level": "20"}
    base = f"s3://{bucket}/{prefix}jobs/{name}"
    for channel in document.get("InputDataConfig", ()):
        channel["DataSource"]["S3DataSource"]["S3Uri"] = channels[channel["ChannelName"]]
    _check_instance(resources.get("InstanceType"))
    resources.setdefault("VolumeSizeInGB", _DEFAULT_GB)
    checkpoints = document.get("CheckpointConfig") or {}
    rules = [rule for rule in document.get("DebugRuleConfigurations", ()) if "RuleEvaluatorImage" in rule]
    document |= {
        "TrainingJobName": name_at_aws(name, attempt),
        "RoleArn": document.get("RoleArn") or _needed(account.role, "role", "the role that the job runs as"),
        "HyperParameters": hyper,
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/{prefix}jobs"} | document.get("OutputDataConfig", {}),
        "StoppingCondition": {"MaxRuntimeInSeconds": _DEFAULT_SECONDS} | document.get("StoppingCondition", {}),
        "CheckpointConfig": {"S3Uri": f"{base}/checkpoints", "LocalPath": "/opt/ml/checkpoints"} | checkpoints,
        "DebugRuleConfigurations": rules,
    }
    request = Request("CreateTrainingJob", {field: value for field, value in document.items() if value not in ([], {})})
    request.check()
    return request


def transform_requests(
    document: Mapping[str, Any], account: Account, name: str, attempt: int, model: str, source: str
) -> tuple[Request, Request]:
    """The CreateModel and CreateTransformJob requests of a batch transform.

    Parameters
    ----------
    document:
        A CreateTransformJob document, whose model and input may lie here.
    model, source:
        Addresses of the model's archive and of the inputs.

    Raises
    ------
    UsageError
        As :func:`training_request`.
    """
    bucket, prefix = account.place()
    sent_name = name_at_aws(name, attempt)
    resources = dict(document.get("TransformResources") or {})
    _check_instance(resources.get("InstanceType"))
    container = {
        "Image": _needed(account.serving_image, "serving_image", "the image that answers"),
        "ModelDataUrl": model,
    }
    role = _needed(account.role, "role", "the role that the job runs as")
    sent = {field: value for field, value in document.items() if field not in ("DataProcessing", "Environment")}
    processing = {k: v for k, v in (document.get("DataProcessing") or {}).items() if v not in ("$", "None")}
    sent |= {
        "TransformJobName": sent_name,
        "ModelName": sent_name,
        "TransformInput": {
            **document["TransformInput"],
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}},
        },
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/{prefix}jobs/{name}/output"}
        | dict(document.get("TransformOutput") or {}),
        "TransformResources": {"InstanceCount": 1} | resources,
    }
    if processing:
        sent["DataProcessing"] = processing
    create = Request("CreateModel", {"ModelName": sent_name, "PrimaryContainer": container, "ExecutionRoleArn": role})
    request = Request("CreateTransformJob", sent)
    create.check()
    request.check()
    return create, request


def _check_instance(kind: str | None) -> None:
    if not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", kind or ""):
        raise UsageError(
            f"There is no instance type {kind!r} at AWS.",
            parameter="instance_type",
            allowed="a type such as ml.m5.xlarge or ml.g4dn.xlarge",
        )


def _needed(value: str | None, key: str, what: str) -> str:
    if not value:
        raise UsageError(f"It is not said which is {what}.", where=VARIABLE, allowed=f'{key} = "..." in that TOML file')
    return value


@dataclass(frozen=True)
class Cost:
    """What a job may cost at most. ``hour`` is the price of all of its instances together."""

    hour: float
    most: float | None
    """With its time limit; None where there is no limit."""
    currency: str


def cost_of(request: Request, account: Account) -> Cost | None:
    """By the user's own table; None where the type is not in it. What storage and transfers cost is not in it."""
    kind, count = request.resources
    price = account.prices.get(kind)
    if price is None:
        return None
    seconds = request.seconds
    return Cost(price * count, None if seconds is None else price * count * seconds / 3600, account.currency)
