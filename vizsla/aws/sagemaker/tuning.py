"""Tuning jobs: a request becomes a search here, and any search here is told in AWS's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.requests import checked_name, moment, page, present
from vizsla.aws.runners import request_of, runner_of
from vizsla.aws.sagemaker.local_document import checked_role, training_document
from vizsla.aws.sagemaker.training import aws_status, each, find_job, stop_job, taken
from vizsla.aws.sagemaker.trials import answered_definition, definition, resources, tuned_texts
from vizsla.errors import JobError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective
from vizsla.tuning.parameter_ranges import tuning_document
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.space import space_of
from vizsla.tuning.trials import TrialRecord
from vizsla.workflow.script_search import ScriptSearch, make_job
from vizsla.workflow.tune import TuningJob, load_tuning

_LONGEST_NAME = 32
_STRATEGIES = {"bayesian": "default", "random": "random", "grid": "grid", "hyperband": "hyperband"}
_NOT_OF_A_TRIAL = ("DefinitionName", "TuningObjective", "HyperParameterRanges", "StaticHyperParameters",
                   "HyperParameterTuningResourceConfig", "ResourceConfig", "RetryStrategy")  # fmt: skip


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateHyperParameterTuningJob."""
    name = checked_name(request, "HyperParameterTuningJobName", _LONGEST_NAME)
    arn = ctx.arn("hyper-parameter-tuning-job", name)
    if (ctx.home / name).exists():
        raise taken("Hyperparameter tuning job", arn)
    found = definition(request)
    checked_role(found)
    search = _search(ctx, request, found, name)
    try:
        job, lock = make_job(search)
    except JobError as error:
        if (ctx.home / name / "job.json").exists():  # made by another request meanwhile
            raise taken("Hyperparameter tuning job", arn) from error
        raise
    runner_of(ctx.home).search(job, lock, request)
    tags.keep(ctx, arn, request)
    return {"HyperParameterTuningJobArn": arn}


def _search(ctx: Context, request: dict[str, Any], found: dict[str, Any], name: str) -> ScriptSearch:
    config = request.get("HyperParameterTuningJobConfig") or {}
    limits = config.get("ResourceLimits") or {}
    criteria = config.get("TuningJobCompletionCriteria") or {}
    objective = config.get("HyperParameterTuningJobObjective") or found.get("TuningObjective")
    if not objective:
        raise invalid("HyperParameterTuningJobObjective is required: without it no trial is better than another.")
    metrics = (found.get("AlgorithmSpecification") or {}).get("MetricDefinitions") or []
    if objective.get("MetricName") not in [metric["Name"] for metric in metrics]:
        raise invalid(
            "A metric is required for this hyperparameter tuning job objective. Provide a metric in the metric "
            f"definitions. There is none called {objective.get('MetricName')!r}."
        )
    count = resources(found).get("InstanceCount") or 1
    if count > 1:
        raise invalid(f"InstanceCount is {count}; there is one instance, this machine.")
    trial = {key: value for key, value in found.items() if key not in _NOT_OF_A_TRIAL}
    trial["HyperParameters"] = {
        key: value for key, value in (found.get("StaticHyperParameters") or {}).items() if key.startswith("sagemaker_")
    }
    strategy = str(config.get("Strategy") or "Bayesian").lower()
    seconds = limits.get("MaxRuntimeInSeconds")
    space = space_of(tuning_document(request))
    search = SearchRequest(
        space=space,
        objective=Objective.from_dict(objective),
        strategy=_STRATEGIES.get(strategy, strategy),
        limits=SearchLimits(
            trials=limits.get("MaxNumberOfTrainingJobs") or space.grid_size() or 20,
            max_parallel=limits.get("MaxParallelTrainingJobs"),
            minutes=None if seconds is None else seconds / 60,
            target=criteria.get("TargetObjectiveMetricValue"),
            patience=(criteria.get("BestObjectiveNotImproving") or {}).get("MaxNumberOfTrainingJobsNotImproving"),
        ),
        early_stopping="auto" if config.get("TrainingJobEarlyStoppingType") == "Auto" else "off",
        finalists=0,
        warm_start=tuple(
            parent["HyperParameterTuningJobName"]
            for parent in (request.get("WarmStartConfig") or {}).get("ParentHyperParameterTuningJobs") or []
        ),
        seed=int(config.get("RandomSeed") or 0),
    )
    spec = TrainingJobSpec.read(training_document(ctx, trial))
    return ScriptSearch.with_fixed(spec, search, {}, None, name, name)


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeHyperParameterTuningJob."""
    job = find(ctx, checked_name(request, "HyperParameterTuningJobName", 63))
    state = runner_of(ctx.home).state(job)
    tuning = load_tuning(job.path)
    asked = request_of(job) or _as_request(tuning)
    best = tuning.winner()
    counts, objectives = _counters(tuning.trials)
    summary = None if best is None else _summary(ctx, asked, best, tuning)
    return present(
        {name: value for name, value in asked.items() if name not in ("Tags", "TrainingJobDefinition")}
        | {
            "HyperParameterTuningJobName": job.name,
            "HyperParameterTuningJobArn": ctx.arn("hyper-parameter-tuning-job", job.name),
            "HyperParameterTuningJobStatus": aws_status(state.status),
            "HyperParameterTuningJobConfig": {"TrainingJobEarlyStoppingType": "Off", "ParameterRanges": {}}
            | asked["HyperParameterTuningJobConfig"],
            "TrainingJobDefinition": answered_definition(asked),
            "CreationTime": moment(state.created),
            "HyperParameterTuningEndTime": moment(state.ended),
            "LastModifiedTime": moment(state.updated),
            "TrainingJobStatusCounters": counts,
            "ObjectiveStatusCounters": objectives,
            "BestTrainingJob": summary,
            "OverallBestTrainingJob": _best_of_all(ctx, asked, tuning) or summary,
            "FailureReason": state.reason if state.status == "Failed" else None,
        }
    )


def stop(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """StopHyperParameterTuningJob."""
    stop_job(ctx, find(ctx, checked_name(request, "HyperParameterTuningJobName", 63)), "hyperparameter tuning job")
    return {}


def list_jobs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListHyperParameterTuningJobs."""
    return page(
        _rows(ctx),
        request,
        key="HyperParameterTuningJobSummaries",
        name="HyperParameterTuningJobName",
        default_sort="Name",
    )


def list_training_jobs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListTrainingJobsForHyperParameterTuningJob."""
    job = find(ctx, checked_name(request, "HyperParameterTuningJobName", 63))
    tuning = load_tuning(job.path)
    asked = request_of(job)
    rows = [_summary(ctx, asked, trial, tuning) for trial in tuning.trials]
    for row in rows:
        row["Status"] = row["TrainingJobStatus"]
    answer = page(rows, request, key="TrainingJobSummaries", name="TrainingJobName")
    for row in rows:
        del row["Status"]
    return answer


def find(ctx: Context, name: str) -> JobDirectory:
    """The search of this name.

    Raises
    ------
    AwsError
        When there is none.
    """
    job = find_job(ctx, name, ("tune",))
    if job is None:
        raise AwsError("ResourceNotFound", f"Amazon SageMaker can't find a tuning job with the name {name}.")
    return job


def _rows(ctx: Context) -> Iterator[dict[str, Any]]:
    for one in each(ctx, "tune"):
        tuning = load_tuning(ctx.home / one.name)
        counts, objectives = _counters(tuning.trials)
        yield present(
            {
                "HyperParameterTuningJobName": one.name,
                "HyperParameterTuningJobArn": ctx.arn("hyper-parameter-tuning-job", one.name),
                "HyperParameterTuningJobStatus": aws_status(one.status),
                "Strategy": (request_of(tuning.job) or _as_request(tuning))["HyperParameterTuningJobConfig"][
                    "Strategy"
                ],
                "CreationTime": moment(one.created),
                "HyperParameterTuningEndTime": moment(one.ended),
                "LastModifiedTime": moment(one.ended or one.started or one.created),
                "TrainingJobStatusCounters": counts,
                "ObjectiveStatusCounters": objectives,
                "ResourceLimits": {"MaxParallelTrainingJobs": tuning.request.limits.max_parallel or 1},
            }
        )


def _as_request(tuning: TuningJob) -> dict[str, Any]:
    """A search that another door started, as a client would have asked for it."""
    config, space = tuning.request.to_dict(), tuning.space.to_dict()
    ranges: dict[str, Any] = {
        "CategoricalParameterRanges": [
            {"Name": entry["Name"], "Values": [str(value) for value in entry["Values"]]}
            for entry in space["CategoricalParameterRanges"]
        ]
    }
    for kind in ("IntegerParameterRanges", "ContinuousParameterRanges"):
        ranges[kind] = [
            entry | {"MinValue": str(entry["MinValue"]), "MaxValue": str(entry["MaxValue"])} for entry in space[kind]
        ]
    document = tuning.job.document.get("TrainingJobDefinition") or {}
    return {
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random" if config["Strategy"] == "random" else "Bayesian",
            "HyperParameterTuningJobObjective": config["HyperParameterTuningJobObjective"],
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": tuning.request.limits.trials,
                "MaxParallelTrainingJobs": tuning.request.limits.max_parallel or 1,
            },
            "ParameterRanges": ranges,
            "TrainingJobEarlyStoppingType": config["TrainingJobEarlyStoppingType"],
        },
        "TrainingJobDefinition": {
            "RoleArn": "arn:aws:iam::000000000000:role/vizsla",
            "OutputDataConfig": {"S3OutputPath": tuning.job.output.as_uri()},
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
            "StaticHyperParameters": {name: str(value) for name, value in tuning.space.static.items()},
            "AlgorithmSpecification": {"TrainingInputMode": "File"}
            | {k: v for k, v in (document.get("AlgorithmSpecification") or {}).items() if k == "MetricDefinitions"},
        },
    }


def _best_of_all(ctx: Context, asked: dict[str, Any], tuning: TuningJob) -> dict[str, Any] | None:
    """The best training of a search and of those that it went on from, where all have the same data and script."""
    warm = asked.get("WarmStartConfig") or {}
    if warm.get("WarmStartType") != "IdenticalDataAndAlgorithm":
        return None
    rows = [] if (best := tuning.winner()) is None else [(best, tuning, asked)]
    for parent in warm.get("ParentHyperParameterTuningJobs") or []:
        job = find_job(ctx, parent["HyperParameterTuningJobName"], ("tune",))
        if job is not None and (best := (earlier := load_tuning(job.path)).winner()) is not None:
            rows.append((best, earlier, request_of(job) or _as_request(earlier)))
    chosen = min if tuning.objective.direction == "minimize" else max
    trial, search, request = chosen(rows, key=lambda row: row[0].value or 0.0, default=(None, tuning, asked))
    return None if trial is None else _summary(ctx, request, trial, search)


def _counters(trials: tuple[TrialRecord, ...]) -> tuple[dict[str, int], dict[str, int]]:
    states = Counter(trial.status for trial in trials)
    good = sum(trial.complete for trial in trials)
    pending = states["InProgress"]
    return (
        {
            "Completed": states["Completed"],
            "InProgress": pending,
            "RetryableError": 0,
            "NonRetryableError": states["Failed"],
            "Stopped": states["Stopped"],
        },
        {"Succeeded": good, "Pending": pending, "Failed": len(trials) - good - pending},
    )


def _summary(ctx: Context, request: dict[str, Any] | None, trial: TrialRecord, tuning: TuningJob) -> dict[str, Any]:
    """A trial as a row; what its job left lies in its buckets by now."""
    if trial.ended and (job := find_job(ctx, trial.name, ("train",))) is not None:
        runner_of(ctx.home).state(job)
    objective = tuning.objective
    status = "Pending" if not trial.ended else "Succeeded" if trial.value is not None else "Failed"
    return present(
        {
            "TrainingJobName": trial.name,
            "TrainingJobArn": ctx.arn("training-job", trial.name),
            "CreationTime": moment(trial.start) or moment(tuning.job.state.created),
            "TrainingStartTime": moment(trial.start),
            "TrainingEndTime": moment(trial.end),
            "TrainingJobStatus": trial.status,
            "TunedHyperParameters": tuned_texts(request, dict(trial.params)),
            "FailureReason": trial.reason if trial.status == "Failed" else None,
            "ObjectiveStatus": status,
            "FinalHyperParameterTuningJobObjectiveMetric": None
            if trial.value is None
            else {
                "Type": objective.direction.capitalize(),
                "MetricName": objective.metric,
                "Value": trial.value,
            },
        }
    )
