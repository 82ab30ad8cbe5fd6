"""A search as the CreateHyperParameterTuningJob request of SageMaker, and its trials as SageMaker tells them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.hyperparameters import decoded, encoded
from vizsla.jobs.sagemaker_account import Account
from vizsla.jobs.sagemaker_document import Request, name_at_aws, training_request
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.tuning.parameters import CategoricalParameter, IntegerParameter
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import Space, Value
from vizsla.tuning.trials import TrialRecord, TrialStatus

OPERATION = "CreateHyperParameterTuningJob"
_LONGEST_NAME = 32
_STRATEGIES = {
    "default": "Bayesian",
    "bayesian": "Bayesian",
    "random": "Random",
    "grid": "Grid",
    "hyperband": "Hyperband",
}
_OF_A_TRIAL = (
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "RetryStrategy",
    "Environment",
)
"""Of a training's fields those that HyperParameterTrainingJobDefinition has, too, and means the same by."""
_OF_AN_ALGORITHM = ("TrainingImage", "TrainingInputMode", "AlgorithmName", "MetricDefinitions")
_STATUS: dict[str, TrialStatus] = {
    "InProgress": "InProgress",
    "Stopping": "InProgress",
    "Completed": "Completed",
    "Stopped": "Stopped",
}


def tuning_name(name: str, attempt: int) -> str:
    """A search's name there, where one has 32 characters at most: a longer one ends in its hash."""
    whole = name_at_aws(name, attempt)
    if len(whole) <= _LONGEST_NAME:
        return whole
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole[: _LONGEST_NAME - 9].rstrip('-')}-{digest}"


def tuning_request(
    search: SearchRequest,
    space: Space,
    spec: TrainingJobSpec,
    account: Account,
    name: str,
    code: str | None,
    channels: Mapping[str, str],
    *,
    attempt: int = 1,
    trials: int | None = None,
    parent: str | None = None,
) -> Request:
    """The request of a search whose trials are ``spec``.

    Parameters
    ----------
    code, channels:
        See :func:`vizsla.jobs.sagemaker_document.training_request`.
    trials:
        How many are left, where that is not all of them.
    parent:
        An earlier search there, over the same data, to learn from.

    Raises
    ------
    UsageError
        When SageMaker has no such search, it is not said what AWS must know, or a field cannot be sent.
    """
    _check(search)
    one = training_request(spec, account, name, attempt, code, channels).parameters
    texts = {key: text for key, text in one["HyperParameters"].items() if key not in space.parameters}
    algorithm = {key: value for key, value in one["AlgorithmSpecification"].items() if key in _OF_AN_ALGORITHM}
    definition = {key: one[key] for key in _OF_A_TRIAL if key in one} | {
        "StaticHyperParameters": texts | encoded(dict(space.static)),
        "AlgorithmSpecification": {"TrainingInputMode": "File"} | algorithm,
    }
    limits = search.limits
    resources: dict[str, Any] = {"MaxParallelTrainingJobs": min(limits.max_parallel or 1, limits.trials)}
    chosen = _STRATEGIES[search.strategy.lower()]
    if chosen != "Grid":  # which counts itself
        resources["MaxNumberOfTrainingJobs"] = limits.trials if trials is None else trials
    if limits.minutes is not None:
        resources["MaxRuntimeInSeconds"] = max(1, round(limits.minutes * 60))
    criteria: dict[str, Any] = {}
    if limits.target is not None:
        criteria["TargetObjectiveMetricValue"] = limits.target
    if limits.patience is not None:
        criteria["BestObjectiveNotImproving"] = {"MaxNumberOfTrainingJobsNotImproving": limits.patience}
    config: dict[str, Any] = {
        "Strategy": chosen,
        "HyperParameterTuningJobObjective": search.objective.to_dict(),
        "ResourceLimits": resources,
        "ParameterRanges": _ranges(space),
        "TrainingJobEarlyStoppingType": "Off" if chosen == "Hyperband" else search.early_stopping.capitalize(),
        "RandomSeed": search.seed,
    }
    if criteria:
        config["TuningJobCompletionCriteria"] = criteria
    parameters: dict[str, Any] = {
        "HyperParameterTuningJobName": tuning_name(name, attempt),
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": definition,
    }
    if parent is not None:
        parameters["WarmStartConfig"] = {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
            "WarmStartType": "IdenticalDataAndAlgorithm",
        }
    if "Tags" in one:
        parameters["Tags"] = one["Tags"]
    request = Request(OPERATION, parameters)
    request.check()
    return request


def trial_records(rows: Sequence[Mapping[str, Any]], space: Space, before: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials of ListTrainingJobsForHyperParameterTuningJob, as they were made, after those ``before``."""
    found = list(before)
    for row in sorted(rows, key=lambda row: (row["CreationTime"], row["TrainingJobName"])):
        texts = row.get("TunedHyperParameters") or {}
        objective = row.get("FinalHyperParameterTuningJobObjectiveMetric") or {}
        start, end = (row.get(key) for key in ("TrainingStartTime", "TrainingEndTime"))
        record = TrialRecord(
            number=len(found),
            name=row["TrainingJobName"],
            params={name: _value(space, name, str(text)) for name, text in texts.items() if name in space.parameters},
            status=_STATUS.get(row["TrainingJobStatus"], "Failed"),
            value=objective.get("Value"),
            start=None if start is None else start.timestamp(),
            end=None if end is None else end.timestamp(),
            reason=row.get("FailureReason"),
        )
        found.append(replace(record, cost=record.seconds))
    return found


def _check(search: SearchRequest) -> None:
    if search.strategy.lower() not in _STRATEGIES:
        raise UsageError(
            f"SageMaker has no strategy {search.strategy!r}.",
            parameter="strategy",
            allowed="default or bayesian, random, grid, hyperband",
        )
    idle = {"finalists": search.finalists, "warm_start": search.warm_start, "study": search.study}
    if given := [name for name, value in idle.items() if value]:
        raise UsageError(
            f"SageMaker's searches have no {given[0]}.",
            parameter=given[0],
            do="leave it out, or search with another executor",
        )


def _ranges(space: Space) -> dict[str, Any]:
    ranges = {key: value for key, value in space.to_dict().items() if key.endswith("ParameterRanges")}
    for kind, entries in ranges.items():
        for entry in entries:
            if kind == "CategoricalParameterRanges":
                entry["Values"] = list(encoded({str(at): value for at, value in enumerate(entry["Values"])}).values())
            else:
                entry |= {key: str(entry[key]) for key in ("MinValue", "MaxValue")}
    return {kind: entries for kind, entries in ranges.items() if entries}


def _value(space: Space, name: str, text: str) -> Value:
    """A value as the space has it: SageMaker writes whole numbers with a point, too."""
    parameter, value = space.parameters[name], decoded({name: text})[name]
    if isinstance(parameter, CategoricalParameter):
        return next((known for known in parameter.values if str(known) in (str(value), text)), value)
    return round(float(value)) if isinstance(parameter, IntegerParameter) else float(value)
