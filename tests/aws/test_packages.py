"""The registry through boto3: groups, versions, approval, and a version that is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from commandline import vizsla

from tests.aws.conftest import IMAGE, ROLE, archive
from vizsla.aws.context import Context

pytest.importorskip("mlflow")

Clients = Callable[[str], Any]


def _package(client: Clients, group: str, **members: Any) -> str:
    container = {
        "Image": IMAGE,
        "ModelDataUrl": "s3://packages/model.tar.gz",
        "Environment": {"SAGEMAKER_PROGRAM": "i.py"},
    }
    specification = {
        "Containers": [container],
        "SupportedContentTypes": ["application/x-image"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    answer = client("sagemaker").create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=specification, **members
    )
    arn: str = answer["ModelPackageArn"]
    return arn


@pytest.fixture(scope="module")
def group(client: Clients) -> str:
    """A group of two versions."""
    client("s3").create_bucket(Bucket="packages")
    client("s3").put_object(Bucket="packages", Key="model.tar.gz", Body=archive({"a": "b"}))
    client("sagemaker").create_model_package_group(ModelPackageGroupName="breeds", ModelPackageGroupDescription="dogs")
    _package(client, "breeds")
    _package(client, "breeds", ModelApprovalStatus="Approved", ClientToken="once")
    return "breeds"


def test_versions_count_up_and_are_approved(client: Clients, group: str) -> None:
    sagemaker = client("sagemaker")
    rows = sagemaker.list_model_packages(ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Ascending")
    assert [row["ModelPackageVersion"] for row in rows["ModelPackageSummaryList"]] == [1, 2]
    (newest,) = sagemaker.list_model_packages(
        ModelPackageGroupName=group, ModelApprovalStatus="Approved", SortBy="CreationTime", MaxResults=1
    )["ModelPackageSummaryList"]
    assert newest["ModelPackageArn"] == "arn:aws:sagemaker:us-east-1:000000000000:model-package/breeds/2"
    first = rows["ModelPackageSummaryList"][0]["ModelPackageArn"]
    told = sagemaker.describe_model_package(ModelPackageName=first)
    assert told["ModelApprovalStatus"] == "PendingManualApproval"
    assert told["ModelPackageStatus"] == "Completed"
    sagemaker.update_model_package(ModelPackageArn=first, ModelApprovalStatus="Rejected", ApprovalDescription="no")
    told = sagemaker.describe_model_package(ModelPackageName=first)
    assert (told["ModelApprovalStatus"], told["ApprovalDescription"]) == ("Rejected", "no")


def test_the_same_token_gives_the_same_version(client: Clients, group: str) -> None:
    assert _package(client, group, ClientToken="once").endswith("/breeds/2")


def test_a_group_is_found_by_name(client: Clients, group: str) -> None:
    expression = {"Filters": [{"Name": "ModelPackageGroupName", "Operator": "Equals", "Value": group}]}
    sagemaker = client("sagemaker")
    assert len(sagemaker.search(Resource="ModelPackageGroup", SearchExpression=expression)["Results"]) == 1
    expression["Filters"][0]["Value"] = "nobody"
    assert sagemaker.search(Resource="ModelPackageGroup", SearchExpression=expression)["Results"] == []
    assert sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"][0]["ModelPackageGroupName"] == group
    assert sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupDescription"] == "dogs"


def test_a_group_that_is_there_already(client: Clients, group: str) -> None:
    """A notebook goes on by these words."""
    with pytest.raises(ClientError, match="Model Package Group already exists") as caught:
        client("sagemaker").create_model_package_group(ModelPackageGroupName=group)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_model_is_made_of_a_version(client: Clients, group: str) -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000:model-package/breeds/2"
    client("sagemaker").create_model(
        ModelName="of-package", ExecutionRoleArn=ROLE, Containers=[{"ModelPackageName": arn}]
    )
    told = client("sagemaker").describe_model(ModelName="of-package")
    assert told["Containers"] == [{"ModelPackageName": arn}]


def test_versions_are_those_of_vizsla_models(client: Clients, group: str, ctx: Context) -> None:
    """A version of a notebook is listed, decided about and removed on the command line, and seen by the notebook."""
    sagemaker = client("sagemaker")

    def models(*arguments: str) -> dict[str, Any]:
        done = vizsla("models", *arguments, "--json", VIZSLA_HOME=str(ctx.home))
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    client("s3").put_object(Bucket="packages", Key="model.tar.gz", Body=archive({"a": "b"}))
    arn = _package(client, group, ModelPackageDescription="the third")
    told = next(one for one in models("list", "--group", group)["versions"] if arn.endswith(f"/{one['name']}"))
    assert (told["approval_status"], told["description"]) == ("PendingManualApproval", "the third")
    assert told["lineage"]["model"] == "s3://packages/model.tar.gz"
    assert told["proof"] == {}
    client("s3").put_object(Bucket="packages", Key="model.tar.gz", Body=archive({"a": "another"}))
    assert models("show", told["name"])["changed"] is False, "what is written over it changes nothing"
    models("approve", told["name"], "--why", "seen")
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert (described["ModelApprovalStatus"], described["ApprovalDescription"]) == ("Approved", "seen")
    assert described["InferenceSpecification"]["Containers"][0]["Environment"] == {"SAGEMAKER_PROGRAM": "i.py"}
    sagemaker.delete_model_package(ModelPackageName=arn)
    assert told["name"] not in [one["name"] for one in models("list", "--group", group)["versions"]]


def test_a_model_that_is_not_there(client: Clients, group: str) -> None:
    specification = {"Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://packages/gone.tar.gz"}]}
    with pytest.raises(ClientError, match=r"Could not find model data at s3://packages/gone\.tar\.gz"):
        client("sagemaker").create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification)


def test_what_is_not_there(client: Clients, group: str) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        client("sagemaker").describe_model_package(ModelPackageName="nobody/1")
    with pytest.raises(ClientError, match="does not exist"):
        client("sagemaker").list_model_packages(ModelPackageGroupName="nobody")
    with pytest.raises(ClientError, match="still contains"):
        client("sagemaker").delete_model_package_group(ModelPackageGroupName=group)
