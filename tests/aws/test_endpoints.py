"""Models, configurations and endpoints through boto3: real servers behind the one port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import IMAGE, ROLE, archive, until
from vizsla.aws.context import Context
from vizsla.serving.endpoint_folder import EndpointFolder

Clients = Callable[[str], Any]

CODE = """
import json, os
def model_fn(model_dir):
    with open(os.path.join(model_dir, "name.txt")) as file:
        return file.read()
def input_fn(body, content_type):
    return content_type, bytes(body)
def predict_fn(data, model):
    return {"model": model, "type": data[0], "size": len(data[1]), "own": os.environ.get("OWN")}
def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def _model(client: Clients, name: str, program: str = "inference.py", **environment: str) -> None:
    files = {"name.txt": name, f"code/{program}": CODE}
    client("s3").put_object(Bucket="models", Key=f"{name}/model.tar.gz", Body=archive(files))
    client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": IMAGE,
            "ModelDataUrl": f"s3://models/{name}/model.tar.gz",
            "Environment": {"SAGEMAKER_PROGRAM": program, "SAGEMAKER_REGION": "us-east-1"} | environment,
        },
    )


def _config(client: Clients, name: str, *models: str, **members: Any) -> None:
    variants = [
        {
            "VariantName": "AllTraffic" if len(models) == 1 else f"variant-{model}",
            "ModelName": model,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
            "InitialVariantWeight": 1,
        }
        for model in models
    ]
    client("sagemaker").create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **members)


def _in_service(client: Clients, name: str) -> dict[str, Any]:
    answer = until(
        lambda: client("sagemaker").describe_endpoint(EndpointName=name), "EndpointStatus", "Creating", "Updating"
    )
    assert answer["EndpointStatus"] == "InService", answer.get("FailureReason")
    return answer


def _ask(client: Clients, name: str, body: bytes = b"1234", **members: Any) -> dict[str, Any]:
    answer = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=name, Body=body, ContentType="application/x-image", **members
    )
    result: dict[str, Any] = json.loads(answer["Body"].read())
    return result | {"variant": answer["InvokedProductionVariant"]}


@pytest.fixture(scope="module")
def endpoint(client: Clients) -> Iterator[str]:
    """An endpoint in service, of a model whose code is the training script's."""
    client("s3").create_bucket(Bucket="models")
    _model(client, "dogs", "train.py", OWN="mine")
    _config(client, "dogs", "dogs")
    arn = client("sagemaker").create_endpoint(EndpointName="dogs", EndpointConfigName="dogs")["EndpointArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:endpoint/dogs"
    _in_service(client, "dogs")
    yield "dogs"
    client("sagemaker").delete_endpoint(EndpointName="dogs")


def test_a_model_with_its_own_code_answers(client: Clients, endpoint: str, ctx: Context) -> None:
    told = client("sagemaker").describe_endpoint(EndpointName=endpoint)
    assert told["EndpointConfigName"] == "dogs"
    assert told["ProductionVariants"][0]["VariantName"] == "AllTraffic"
    answer = _ask(client, endpoint)
    assert answer == {"model": "dogs", "type": "application/x-image", "size": 4, "own": "mine", "variant": "AllTraffic"}
    assert EndpointFolder(ctx.home / "endpoints" / "dogs").status() == "InService"


def test_an_endpoint_goes_over_to_another_configuration(client: Clients, endpoint: str) -> None:
    _model(client, "cats", "train.py", OWN="mine")
    _config(client, "cats", "cats")
    client("sagemaker").update_endpoint(EndpointName=endpoint, EndpointConfigName="cats")
    until(lambda: _ask(client, endpoint), "model", "dogs")
    assert _in_service(client, endpoint)["EndpointConfigName"] == "cats"
    _config(client, "two", "cats", "dogs")
    until(lambda: client("sagemaker").describe_endpoint(EndpointName=endpoint), "EndpointStatus", "Updating")
    client("sagemaker").update_endpoint(EndpointName=endpoint, EndpointConfigName="two")
    until(
        lambda: {"n": len(client("sagemaker").describe_endpoint(EndpointName=endpoint)["ProductionVariants"])}, "n", 1
    )
    until(lambda: _ask(client, endpoint), "variant", "AllTraffic")
    assert _ask(client, endpoint, TargetVariant="variant-dogs")["model"] == "dogs"
    assert _ask(client, endpoint, TargetVariant="variant-cats")["model"] == "cats"


def test_many_models_behind_one_endpoint(client: Clients, endpoint: str) -> None:
    sagemaker, s3 = client("sagemaker"), client("s3")
    s3.put_object(
        Bucket="models", Key="many/a/model.tar.gz", Body=archive({"name.txt": "a", "code/inference.py": CODE})
    )
    container = {"Image": IMAGE, "ModelDataUrl": "s3://models/many/", "Mode": "MultiModel"}
    sagemaker.create_model(ModelName="many", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    _config(client, "many", "many")
    sagemaker.create_endpoint(EndpointName="many", EndpointConfigName="many")
    _in_service(client, "many")
    try:
        assert _ask(client, "many", TargetModel="a/model.tar.gz")["model"] == "a"
        assert _ask(client, "many", TargetModel="/a/model.tar.gz")["model"] == "a"
        later = archive({"name.txt": "b", "code/inference.py": CODE})
        s3.put_object(Bucket="models", Key="many/b/model.tar.gz", Body=later)  # after the deployment
        assert _ask(client, "many", TargetModel="b/model.tar.gz")["model"] == "b"
        with pytest.raises(ClientError, match="There is no model"):
            _ask(client, "many", TargetModel="c/model.tar.gz")
        with pytest.raises(ClientError, match="cannot name a model"):
            _ask(client, "many", TargetModel="../dogs/model.tar.gz")
    finally:
        sagemaker.delete_endpoint(EndpointName="many")
    with pytest.raises(ClientError, match="Could not find"):
        sagemaker.describe_endpoint(EndpointName="many")
    assert sagemaker.describe_model(ModelName="many")["PrimaryContainer"] == container
    assert sagemaker.describe_endpoint_config(EndpointConfigName="many")["ProductionVariants"][0]["ModelName"] == "many"


@pytest.mark.slow
def test_what_is_asked_is_captured_into_a_bucket(client: Clients, endpoint: str) -> None:
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://models/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    _config(client, "captured", "dogs", DataCaptureConfig=capture)
    client("sagemaker").create_endpoint(EndpointName="captured", EndpointConfigName="captured")
    _in_service(client, "captured")
    _ask(client, "captured", b"12345")
    client("sagemaker").delete_endpoint(EndpointName="captured")
    listed = client("s3").list_objects_v2(Bucket="models", Prefix="captured/")
    key = next(one["Key"] for one in listed["Contents"] if one["Key"].endswith(".jsonl"))
    line = json.loads(client("s3").get_object(Bucket="models", Key=key)["Body"].read().splitlines()[0])
    assert "captureData" in line


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_fails_its_endpoint_in_words(client: Clients, endpoint: str) -> None:
    broken = archive({"code/inference.py": "def model_fn(model_dir):\n    raise RuntimeError('torn weights')\n"})
    client("s3").put_object(Bucket="models", Key="broken/model.tar.gz", Body=broken)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://models/broken/model.tar.gz"}
    client("sagemaker").create_model(ModelName="broken", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    _config(client, "broken", "broken")
    client("sagemaker").create_endpoint(EndpointName="broken", EndpointConfigName="broken")
    told = until(lambda: client("sagemaker").describe_endpoint(EndpointName="broken"), "EndpointStatus", "Creating")
    assert told["EndpointStatus"] == "Failed"
    assert "torn weights" in told["FailureReason"]
    with pytest.raises(ClientError, match="which has failed: delete it and create it again"):
        client("sagemaker").update_endpoint(EndpointName="broken", EndpointConfigName="broken")
    client("sagemaker").delete_endpoint(EndpointName="broken")


def test_taken_and_unknown_names(client: Clients, endpoint: str) -> None:
    sagemaker = client("sagemaker")
    with pytest.raises(ClientError, match="Cannot create already existing model "):
        _model(client, "dogs", "train.py")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint configuration "):
        _config(client, "dogs", "dogs")
    with pytest.raises(ClientError, match="Cannot create already existing endpoint "):
        sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName="dogs")
    for call, what in (
        (lambda: sagemaker.describe_model(ModelName="nobody"), "model"),
        (lambda: sagemaker.describe_endpoint_config(EndpointConfigName="nobody"), "endpoint configuration"),
        (lambda: sagemaker.describe_endpoint(EndpointName="nobody"), "endpoint"),
        (lambda: sagemaker.delete_endpoint(EndpointName="nobody"), "endpoint"),
        (lambda: _config(client, "of-nobody", "nobody"), "model"),
    ):
        with pytest.raises(ClientError, match=f"Could not find {what} ") as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="Endpoint nobody of account 000000000000 not found"):
        _ask(client, "nobody")
    with pytest.raises(ClientError, match="AsyncInferenceConfig is not offered here: an endpoint answers at once"):
        _config(client, "later", "dogs", AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://models/later"}})
    container = {"Image": IMAGE, "ModelDataUrl": "s3://models/nothing.tar.gz"}
    with pytest.raises(ClientError, match="Could not find model data"):
        sagemaker.create_model(ModelName="nothing", ExecutionRoleArn=ROLE, PrimaryContainer=container)


def test_lists(client: Clients, endpoint: str) -> None:
    sagemaker = client("sagemaker")
    assert "dogs" in [one["ModelName"] for one in sagemaker.list_models(NameContains="dog")["Models"]]
    configs = sagemaker.list_endpoint_configs(SortBy="Name", MaxResults=100)["EndpointConfigs"]
    assert "dogs" in [one["EndpointConfigName"] for one in configs]
    (row,) = sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"]
    assert row["EndpointName"] == endpoint
