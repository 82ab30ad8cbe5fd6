"""Experiments, trials and their components through boto3, and Search over them and over trainings."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import until

Clients = Callable[[str], Any]


@pytest.fixture(scope="module")
def run(client: Clients) -> str:
    """A run as ``sagemaker.experiments.Run`` makes it, with two values of a metric."""
    sagemaker = client("sagemaker")
    sagemaker.create_experiment(ExperimentName="roses", Description="which network")
    sagemaker.create_trial(TrialName="Default-Run-Group-roses", ExperimentName="roses")
    tags = [{"Key": "sagemaker:trial-component-source", "Value": "run"}]
    sagemaker.create_trial_component(TrialComponentName="roses-first", DisplayName="first", Tags=tags)
    sagemaker.associate_trial_component(TrialComponentName="roses-first", TrialName="Default-Run-Group-roses")
    sagemaker.update_trial_component(
        TrialComponentName="roses-first",
        Status={"PrimaryStatus": "Completed"},
        Parameters={"lr": {"NumberValue": 0.1}, "backbone": {"StringValue": "resnet18"}},
        OutputArtifacts={"model": {"Value": "s3://bucket/model.tar.gz", "MediaType": "application/gzip"}},
    )
    moment = datetime.datetime.now(datetime.UTC)
    values = [{"MetricName": "loss", "Timestamp": moment, "Step": at, "Value": 2.0 - at} for at in range(2)]
    client("sagemaker-metrics").batch_put_metrics(TrialComponentName="roses-first", MetricData=values)
    return "roses-first"


def test_a_run_is_described(client: Clients, run: str) -> None:
    told = client("sagemaker").describe_trial_component(TrialComponentName=run)
    assert told["DisplayName"] == "first"
    assert told["Status"] == {"PrimaryStatus": "Completed"}
    assert told["Parameters"] == {"lr": {"NumberValue": 0.1}, "backbone": {"StringValue": "resnet18"}}
    (metric,) = told["Metrics"]
    assert (metric["Last"], metric["Max"], metric["Count"], metric["Avg"], metric["StdDev"]) == (1.0, 2.0, 2, 1.5, 0.5)
    client("sagemaker").update_trial_component(
        TrialComponentName=run, Parameters={"seed": {"NumberValue": 1}}, ParametersToRemove=["backbone"]
    )
    assert sorted(client("sagemaker").describe_trial_component(TrialComponentName=run)["Parameters"]) == ["lr", "seed"]


def test_what_belongs_together_is_listed(client: Clients, run: str) -> None:
    sagemaker = client("sagemaker")
    sagemaker.create_trial_component(TrialComponentName="of-nothing")
    rows = sagemaker.list_trial_components(ExperimentName="roses")["TrialComponentSummaries"]
    assert [row["TrialComponentName"] for row in rows] == [run]
    assert rows[0]["Status"] == {"PrimaryStatus": "Completed"}
    trials = sagemaker.list_trials(TrialComponentName=run)["TrialSummaries"]
    assert [row["TrialName"] for row in trials] == ["Default-Run-Group-roses"]
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert sagemaker.list_experiments(CreatedBefore=long_ago)["ExperimentSummaries"] == []
    assert sagemaker.list_experiments(CreatedAfter=long_ago)["ExperimentSummaries"][0]["ExperimentName"] == "roses"


def test_a_run_is_found(client: Clients, run: str) -> None:
    """As ``ExperimentAnalytics`` looks for it."""
    sagemaker = client("sagemaker")
    of = {"Name": "Parents.ExperimentName", "Operator": "Equals", "Value": "roses"}
    low = {"Name": "Metrics.loss.Last", "Operator": "LessThan", "Value": "1.5"}

    def search(*filters: dict[str, str], operator: str = "And") -> list[Any]:
        expression = {"Filters": list(filters), "Operator": operator}
        found = sagemaker.search(Resource="ExperimentTrialComponent", SearchExpression=expression)
        return list(found["Results"])

    found = search(of, low)
    assert [one["TrialComponent"]["TrialComponentName"] for one in found] == [run]
    assert found[0]["TrialComponent"]["Parents"][0]["TrialName"] == "Default-Run-Group-roses"
    high = low | {"Operator": "GreaterThan"}
    assert not search(of, high)
    assert search(of, high, operator="Or")


def test_trainings_are_found_by_metric_and_hyperparameter(client: Clients, training: Callable[..., Any]) -> None:
    sagemaker = client("sagemaker")
    for at, loss in enumerate(("0.5", "0.25", "0.75")):
        tags = [{"Key": "set", "Value": "roses"}] if at else []
        values = {"lr": f"{at}"}
        sagemaker.create_training_job(
            **training(f"found-{at}", f"print('loss: {loss}')", HyperParameters=values, Tags=tags)
        )

    def describe(name: str) -> dict[str, Any]:
        answer: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=name)
        return answer

    for name in ("found-0", "found-1", "found-2"):
        until(functools.partial(describe, name), "TrainingJobStatus", "InProgress")

    def names(*filters: dict[str, str], **options: Any) -> list[str]:
        found = sagemaker.search(Resource="TrainingJob", SearchExpression={"Filters": list(filters)}, **options)
        return [one["TrainingJob"]["TrainingJobName"] for one in found["Results"]]

    named = {"Name": "TrainingJobName", "Operator": "Contains", "Value": "found"}
    assert names(named, SortBy="Metrics.loss", SortOrder="Ascending") == ["found-1", "found-0", "found-2"]
    assert names(named, SortBy="Metrics.loss", MaxResults=1) == ["found-2"]
    assert names({"Name": "HyperParameters.lr", "Operator": "Equals", "Value": "1"}) == ["found-1"]
    assert sorted(names({"Name": "Tags.set", "Operator": "Exists"}, named)) == ["found-1", "found-2"]
    assert sorted(names({"Name": "Tags.set", "Operator": "Equals", "Value": "roses"})) == ["found-1", "found-2"]

    def by(**expression: Any) -> list[str]:
        found = sagemaker.search(Resource="TrainingJob", SearchExpression=expression)["Results"]
        return sorted(one["TrainingJob"]["TrainingJobName"] for one in found)

    some = [{"Filters": [{"Name": "HyperParameters.lr", "Operator": "Equals", "Value": lr}]} for lr in "02"]
    assert by(SubExpressions=some, Operator="Or") == ["found-0", "found-2"]
    assert by(SubExpressions=some) == []
    uri = {"Name": "InputDataConfig.DataSource.S3DataSource.S3Uri", "Operator": "Contains", "Value": "data/train"}
    channel = {"Name": "InputDataConfig.ChannelName", "Operator": "Equals", "Value": "train"}
    inputs = {"NestedPropertyName": "InputDataConfig", "Filters": [uri, channel]}
    assert by(NestedFilters=[inputs], Filters=[named]) == ["found-0", "found-1", "found-2"]
    assert by(NestedFilters=[inputs | {"Filters": [uri, channel | {"Value": "valid"}]}]) == []
    sagemaker.delete_training_job(TrainingJobName="found-0")
    assert sorted(names(named)) == ["found-1", "found-2"]
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="found-0")


def test_what_cannot_be_is_said(client: Clients, run: str) -> None:
    sagemaker = client("sagemaker")
    for call, members, code, words in [
        ("create_experiment", {"ExperimentName": "roses"}, "ValidationException", "already exists"),
        (
            "create_trial",
            {"TrialName": "t", "ExperimentName": "nobody"},
            "ResourceNotFound",
            "Could not find experiment",
        ),
        ("delete_experiment", {"ExperimentName": "roses"}, "ValidationException", "still has trials"),
        ("delete_trial", {"TrialName": "Default-Run-Group-roses"}, "ValidationException", "disassociate them first"),
        ("delete_trial_component", {"TrialComponentName": run}, "ValidationException", "still associated"),
        ("describe_trial_component", {"TrialComponentName": "nobody"}, "ResourceNotFound", "trial component"),
        ("search", {"Resource": "Pipeline"}, "ValidationException", "not for Pipeline"),
    ]:
        with pytest.raises(ClientError, match=words) as caught:
            getattr(sagemaker, call)(**members)
        assert caught.value.response["Error"]["Code"] == code, call
    sagemaker.disassociate_trial_component(TrialComponentName=run, TrialName="Default-Run-Group-roses")
    sagemaker.delete_trial_component(TrialComponentName=run)
    sagemaker.delete_trial(TrialName="Default-Run-Group-roses")
    sagemaker.delete_experiment(ExperimentName="roses")
