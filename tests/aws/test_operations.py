"""The reference's operations stand; what is not offered says what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from vizsla.aws.application import operations_of
from vizsla.aws.context import Context
from vizsla.aws.sagemaker.operations import PLACES, operation_at

Clients = Callable[[str], Any]

JOBS = "TrainingJob HyperParameterTuningJob TransformJob ProcessingJob".split()
THINGS = "Model EndpointConfig Endpoint ModelPackageGroup ModelPackage".split()
OTHERS = (
    "ListTrainingJobsForHyperParameterTuningJob UpdateTrainingJob UpdateEndpoint UpdateEndpointWeightsAndCapacities "
    "UpdateModelPackage Search ListTags AddTags DeleteTags ListMonitoringSchedules"
).split()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "sagemaker.operations",
            [f"{verb}{job}" for job in JOBS for verb in ("Create", "Describe", "Stop")]
            + [f"{verb}{thing}" for thing in THINGS for verb in ("Create", "Describe", "Delete")]
            + [f"List{one}s" for one in (*JOBS, *THINGS)]
            + OTHERS,
        ),
        ("logs", ["DescribeLogGroups", "DescribeLogStreams", "GetLogEvents", "FilterLogEvents"]),
        ("metrics", ["GetMetricStatistics"]),
        ("sts", ["GetCallerIdentity"]),
        ("iam", "GetRole SimulatePrincipalPolicy CreateRole AttachRolePolicy ListAttachedRolePolicies".split()),
        ("ecr", ["DescribeRepositories", "CreateRepository", "GetAuthorizationToken"]),
    ],
)
def test_the_operations_that_notebooks_ask_for_stand(module: str, names: list[str]) -> None:
    assert set(names) <= set(operations_of(f"vizsla.aws.{module}"))


@pytest.mark.parametrize("place", sorted(set(PLACES.values())))
def test_every_operation_is_where_the_table_says(place: str) -> None:
    assert callable(operation_at(place))


@pytest.mark.parametrize(
    ("call", "members", "words"),
    [
        ("create_pipeline", {"PipelineName": "p", "ClientRequestToken": "0" * 32, "RoleArn": "0" * 20}, "no pipelines"),
        ("create_inference_component", {"InferenceComponentName": "c", "EndpointName": "e"}, "Mode MultiModel"),
        ("list_notebook_instances", {}, "vizsla aws run -- jupyter lab"),
        ("describe_feature_group", {"FeatureGroupName": "f"}, "no Feature Store"),
        ("list_workteams", {}, r"'ListWorkteams' is not offered here\.$"),
    ],
)
def test_what_is_not_here_says_what_is(client: Clients, call: str, members: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        getattr(client("sagemaker"), call)(**members)
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_model_cards_have_versions(client: Clients) -> None:
    sagemaker = client("sagemaker")
    arn = sagemaker.create_model_card(ModelCardName="roses", Content="{}", ModelCardStatus="Draft")["ModelCardArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:model-card/roses"
    sagemaker.update_model_card(ModelCardName="roses", Content='{"a": 1}', ModelCardStatus="Approved")
    told = sagemaker.describe_model_card(ModelCardName=arn)
    assert (told["ModelCardVersion"], told["Content"], told["ModelCardStatus"]) == (2, '{"a": 1}', "Approved")
    assert sagemaker.describe_model_card(ModelCardName="roses", ModelCardVersion=1)["Content"] == "{}"
    assert [one["ModelCardName"] for one in sagemaker.list_model_cards()["ModelCardSummaries"]] == ["roses"]
    versions = sagemaker.list_model_card_versions(ModelCardName="roses")["ModelCardVersionSummaryList"]
    assert sorted(one["ModelCardVersion"] for one in versions) == [1, 2]
    with pytest.raises(ClientError, match="already exists") as caught:
        sagemaker.create_model_card(ModelCardName="roses", Content="{}", ModelCardStatus="Draft")
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    with pytest.raises(ClientError, match="has no version 3"):
        sagemaker.describe_model_card(ModelCardName="roses", ModelCardVersion=3)
    sagemaker.delete_model_card(ModelCardName="roses")
    with pytest.raises(ClientError, match="Could not find model card"):
        sagemaker.describe_model_card(ModelCardName="roses")


def test_a_record_that_is_damaged_hides_no_other(client: Clients, ctx: Context) -> None:
    sagemaker, cards = client("sagemaker"), ctx.state / "model-card"
    for name in ("whole", "torn"):
        sagemaker.create_model_card(ModelCardName=name, Content="{}", ModelCardStatus="Draft")
    (cards / "torn.json").write_bytes(b"")
    assert [one["ModelCardName"] for one in sagemaker.list_model_cards()["ModelCardSummaries"]] == ["whole"]
    with pytest.raises(ClientError, match=r"'torn' cannot be read: (.|\n)*torn.json") as caught:
        sagemaker.describe_model_card(ModelCardName="torn")
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    sagemaker.delete_model_card(ModelCardName="torn")
    sagemaker.create_model_card(ModelCardName="torn", Content="{}", ModelCardStatus="Draft")
