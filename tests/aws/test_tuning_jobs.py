"""Tuning jobs through boto3 against a real server: a search in a process of its own, its trials are jobs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import until
from vizsla.aws.context import Context
from vizsla.workflow.tune import load_tuning

Clients = Callable[[str], Any]
Training = Callable[..., dict[str, Any]]

SCRIPT = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--batch-size", type=int)
args = parser.parse_args()
print("average loss:", args.lr + args.batch_size / 1000)
open(os.environ["SM_MODEL_DIR"] + "/model.txt", "w").write("x")
assert not os.listdir(os.environ["SM_CHECKPOINT_DIR"])
open(os.environ["SM_CHECKPOINT_DIR"] + "/last", "w").write("x")
"""


def tuning_request(name: str, training: dict[str, Any], **config: Any) -> dict[str, Any]:
    """A CreateHyperParameterTuningJob as version 2 of the SDK sends it."""
    static = training["HyperParameters"] | {
        "sagemaker_estimator_class_name": '"PyTorch"',
        "sagemaker_estimator_module": '"sagemaker.pytorch.estimator"',
    }
    algorithm = training["AlgorithmSpecification"] | {
        "MetricDefinitions": [{"Name": "average loss", "Regex": "average loss: ([0-9.]+)"}]
    }
    algorithm.pop("EnableSageMakerMetricsTimeSeries")
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "average loss"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Auto"}
                ],
                "CategoricalParameterRanges": [{"Name": "batch-size", "Values": ['"32"', '"64"']}],
                "IntegerParameterRanges": [],
            },
            "TrainingJobEarlyStoppingType": "Off",
        }
        | config,
        "TrainingJobDefinition": {
            "StaticHyperParameters": {k: v for k, v in static.items() if k.startswith("sagemaker_")},
            "AlgorithmSpecification": algorithm,
            "RoleArn": training["RoleArn"],
            "InputDataConfig": training["InputDataConfig"],
            "OutputDataConfig": training["OutputDataConfig"],
            "HyperParameterTuningResourceConfig": training["ResourceConfig"],
            "StoppingCondition": training["StoppingCondition"],
            "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
        },
    }


@pytest.fixture(scope="module")
def tuned(client: Clients, training: Training) -> dict[str, Any]:
    """A search that has ended."""
    request = tuning_request("pytorch-training-261129-0241", training("tuner-source", SCRIPT))
    client("sagemaker").create_hyper_parameter_tuning_job(**request)
    return until(
        lambda: client("sagemaker").describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=request["HyperParameterTuningJobName"]
        ),
        "HyperParameterTuningJobStatus",
        "InProgress",
    )


def test_the_best_of_the_trials_is_the_best(client: Clients, tuned: dict[str, Any], ctx: Context) -> None:
    name = tuned["HyperParameterTuningJobName"]
    assert tuned["HyperParameterTuningJobStatus"] == "Completed", tuned.get("FailureReason")
    assert tuned["TrainingJobStatusCounters"]["Completed"] == 3
    assert tuned["ObjectiveStatusCounters"]["Succeeded"] == 3
    rows = client("sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name, SortBy="FinalObjectiveMetricValue", SortOrder="Ascending"
    )["TrainingJobSummaries"]
    values = [row["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for row in rows]
    assert values == sorted(values)
    assert tuned["BestTrainingJob"]["TrainingJobName"] == rows[0]["TrainingJobName"]
    for row, value in zip(rows, values, strict=True):
        tuned_values = row["TunedHyperParameters"]
        assert tuned_values["batch-size"] in ('"32"', '"64"')
        batch = int(tuned_values["batch-size"].replace('"', ""))
        assert value == pytest.approx(float(tuned_values["lr"]) + batch / 1000, abs=1e-6)
    assert [trial.name for trial in load_tuning(ctx.home / name).trials] == sorted(
        row["TrainingJobName"] for row in rows
    )


def test_what_the_sdk_reads_without_asking_is_there(tuned: dict[str, Any]) -> None:
    definition = tuned["TrainingJobDefinition"]
    assert definition["StaticHyperParameters"]["_tuning_objective_metric"] == '"average loss"'
    assert definition["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    config = tuned["HyperParameterTuningJobConfig"]
    assert config["ParameterRanges"]["CategoricalParameterRanges"][0]["Values"] == ['"32"', '"64"']
    assert config["Strategy"] == "Bayesian"
    assert config["ResourceLimits"] == {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2}


def test_a_trial_is_a_training_job(client: Clients, tuned: dict[str, Any]) -> None:
    best = tuned["BestTrainingJob"]
    job = client("sagemaker").describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert job["TuningJobArn"].endswith(f"/{tuned['HyperParameterTuningJobName']}")
    values = job["HyperParameters"]
    assert values["_tuning_objective_metric"] == '"average loss"'
    assert values["batch-size"] == best["TunedHyperParameters"]["batch-size"]
    assert values["sagemaker_program"] == '"train.py"'
    assert values["sagemaker_submit_directory"].startswith('"s3://')
    assert job["ResourceConfig"]["InstanceType"] == "ml.m5.xlarge"
    assert job["CheckpointConfig"]["S3Uri"] == f"s3://bucket/checkpoints/{best['TrainingJobName']}"
    key = f"checkpoints/{best['TrainingJobName']}/last"
    assert client("s3").head_object(Bucket="bucket", Key=key)["ContentLength"] == 1
    model = job["ModelArtifacts"]["S3ModelArtifacts"]
    bucket, _, key = model.removeprefix("s3://").partition("/")
    assert client("s3").head_object(Bucket=bucket, Key=key)["ContentLength"] > 0


@pytest.mark.slow
def test_a_search_is_stopped(client: Clients, training: Training) -> None:
    sagemaker = client("sagemaker")
    slow = training("slow-source", "import time\nprint('begun', flush=True)\ntime.sleep(60)")
    sagemaker.create_hyper_parameter_tuning_job(**tuning_request("slow", slow))

    def describe() -> dict[str, Any]:
        answer: dict[str, Any] = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="slow")
        return answer

    until(lambda: {"n": str(describe()["TrainingJobStatusCounters"]["InProgress"])}, "n", "0")
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="slow")
    assert (
        until(describe, "HyperParameterTuningJobStatus", "InProgress", "Stopping")["HyperParameterTuningJobStatus"]
        == "Stopped"
    )
    with pytest.raises(ClientError, match="is in status Stopped"):
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="slow")


def test_a_search_that_is_stopped_at_once_never_begins(client: Clients, training: Training, ctx: Context) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_hyper_parameter_tuning_job(**tuning_request("at-once", training("at-once-source", SCRIPT)))
    (row,) = sagemaker.list_hyper_parameter_tuning_jobs(NameContains="at-once")["HyperParameterTuningJobSummaries"]
    assert row["HyperParameterTuningJobStatus"] == "InProgress"
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="at-once")
    ended = until(
        lambda: sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="at-once"),
        "HyperParameterTuningJobStatus",
        "InProgress",
        "Stopping",
    )
    assert ended["HyperParameterTuningJobStatus"] == "Stopped"
    assert not load_tuning(str(ctx.home / "at-once")).trials


def test_unknown_and_taken_names(client: Clients, training: Training, tuned: dict[str, Any]) -> None:
    sagemaker = client("sagemaker")
    with pytest.raises(ClientError) as caught:
        sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="nobody")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"
    again = tuning_request(tuned["HyperParameterTuningJobName"], training("again-source", SCRIPT))
    with pytest.raises(ClientError, match="already exists") as caught:
        sagemaker.create_hyper_parameter_tuning_job(**again)
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    many = tuning_request("by-many", training("many-source", SCRIPT))
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(sagemaker.create_hyper_parameter_tuning_job, **many) for _ in range(8)]
    refusals = [one.exception() for one in asked if one.exception() is not None]
    assert [isinstance(one, ClientError) and one.response["Error"]["Code"] for one in refusals] == ["ResourceInUse"] * 7
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="by-many")
    with pytest.raises(ClientError, match="less than or equal to 32"):
        sagemaker.create_hyper_parameter_tuning_job(**tuning_request("x" * 33, training("long-source", SCRIPT)))


def test_the_best_of_all_may_be_one_of_the_search_that_was_gone_on_from(
    client: Clients, training: Training, tuned: dict[str, Any]
) -> None:
    sagemaker = client("sagemaker")
    request = tuning_request("goes-on", training("goes-on-source", SCRIPT.replace("average loss:", "average loss: 9")))
    request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] = 1
    parents = [{"HyperParameterTuningJobName": tuned["HyperParameterTuningJobName"]}]
    request["WarmStartConfig"] = {
        "WarmStartType": "IdenticalDataAndAlgorithm",
        "ParentHyperParameterTuningJobs": parents,
    }
    request["TrainingJobDefinition"]["CheckpointConfig"] = {"S3Uri": "s3://bucket/checkpoints-of-another"}
    sagemaker.create_hyper_parameter_tuning_job(**request)
    told = until(
        lambda: sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="goes-on"),
        "HyperParameterTuningJobStatus",
        "InProgress",
    )
    assert told["HyperParameterTuningJobStatus"] == "Completed", told.get("FailureReason")
    assert told["BestTrainingJob"]["TrainingJobName"].startswith("goes-on-")
    assert told["OverallBestTrainingJob"] == tuned["BestTrainingJob"]


def test_an_objective_that_nothing_defines_is_refused(client: Clients, training: Training) -> None:
    """Before a trial runs in vain: ``identical_dataset_and_algorithm_tuner`` drops the definitions of the tuner."""
    request = tuning_request("undefined", training("undefined-source", SCRIPT))
    del request["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"]
    with pytest.raises(ClientError, match="Provide a metric in the metric definitions"):
        client("sagemaker").create_hyper_parameter_tuning_job(**request)


def test_searches_are_listed(client: Clients, tuned: dict[str, Any]) -> None:
    rows = client("sagemaker").list_hyper_parameter_tuning_jobs(NameContains="261129")
    (row,) = rows["HyperParameterTuningJobSummaries"]
    assert row["HyperParameterTuningJobStatus"] == "Completed"
    assert row["Strategy"] == "Bayesian"
