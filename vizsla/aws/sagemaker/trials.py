"""Trials of a tuning job as SageMaker's training jobs: their hyperparameters in the texts that the client gave."""

from __future__ import annotations

import json
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.runners import request_of
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.hyperparameters import decoded

OBJECTIVE = "_tuning_objective_metric"
"""The hyperparameter by which the SDK knows a trial's objective; its value is JSON."""

_OF_A_TRAINING = ("AlgorithmSpecification", "InputDataConfig", "OutputDataConfig", "ResourceConfig", "RoleArn",
                  "StoppingCondition", "CheckpointConfig", "Environment", "VpcConfig",
                  "EnableManagedSpotTraining")  # fmt: skip
"""What of a definition is a member of each of its training jobs."""


def definition(request: dict[str, Any]) -> dict[str, Any]:
    """What each trial is, of a tuning request."""
    several = request.get("TrainingJobDefinitions") or []
    found: dict[str, Any] = request.get("TrainingJobDefinition") or (several[0] if several else {})
    return found


def answered_definition(request: dict[str, Any]) -> dict[str, Any]:
    """The definition as DescribeHyperParameterTuningJob answers it, with what the SDK reads without asking."""
    found = definition(request)
    static = dict(found.get("StaticHyperParameters") or {})
    if (objective := _objective(request)) is not None:
        static[OBJECTIVE] = json.dumps(objective)
    return found | {"StaticHyperParameters": static, "ResourceConfig": resources(found)}


def resources(found: dict[str, Any]) -> dict[str, Any]:
    """The resources of each trial: version 2 of the SDK sends them under another name than it reads."""
    asked = found.get("ResourceConfig") or found.get("HyperParameterTuningResourceConfig") or {}
    return {"InstanceCount": 1, "InstanceType": "local", "VolumeSizeInGB": 30} | asked


def _objective(request: dict[str, Any]) -> str | None:
    config = request.get("HyperParameterTuningJobConfig") or {}
    objective = config.get("HyperParameterTuningJobObjective") or definition(request).get("TuningObjective") or {}
    return objective.get("MetricName")


def tuned_texts(request: dict[str, Any] | None, params: dict[str, Any]) -> dict[str, str]:
    """The searched values of a trial as SageMaker answers them: text, categorical ones as they were given.

    Examples
    --------
    >>> ranges = {"CategoricalParameterRanges": [{"Name": "batch-size", "Values": ['"32"', '"64"']}]}
    >>> request = {"HyperParameterTuningJobConfig": {"ParameterRanges": ranges}}
    >>> tuned_texts(request, {"batch-size": "32", "lr": 0.01})
    {'batch-size': '"32"', 'lr': '0.01'}
    """
    texts = {name: str(value) for name, value in params.items()}
    config = (request or {}).get("HyperParameterTuningJobConfig") or {}
    ranges = config.get("ParameterRanges") or definition(request or {}).get("HyperParameterRanges") or {}
    for entry in ranges.get("CategoricalParameterRanges") or []:
        name = entry["Name"]
        for given in entry["Values"]:
            if name in params and str(decoded({name: given})[name]) == str(params[name]):
                texts[name] = given
                break
    return texts


def request_of_trial(ctx: Context, job: JobDirectory) -> dict[str, Any] | None:
    """The CreateTrainingJob that a trial is, as SageMaker would have made it; None of any other job."""
    parent = None if job.parent is None else ctx.home / job.parent
    if parent is None or not (parent / "job.json").is_file():
        return None
    request = request_of(JobDirectory(parent))
    if request is None:
        return None
    found = answered_definition(request)
    static = found["StaticHyperParameters"]
    values = decoded(job.document.get("HyperParameters") or {})
    params = {name: value for name, value in values.items() if name in _searched(request)}
    trial = {name: found[name] for name in _OF_A_TRAINING if name in found}
    if address := (found.get("CheckpointConfig") or {}).get("S3Uri"):
        trial["CheckpointConfig"] = found["CheckpointConfig"] | {"S3Uri": f"{address.rstrip('/')}/{job.name}"}
    return trial | {"HyperParameters": static | tuned_texts(request, params)}


def _searched(request: dict[str, Any]) -> set[str]:
    config = request.get("HyperParameterTuningJobConfig") or {}
    ranges = config.get("ParameterRanges") or definition(request).get("HyperParameterRanges") or {}
    kinds = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
    return {entry["Name"] for kind in kinds for entry in ranges.get(kind) or []}
