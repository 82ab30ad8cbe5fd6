"""Real clients, unchanged: boto3's sagemaker-runtime as seed 004 uses it, the SageMaker SDK as seed 003 does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

boto3 = pytest.importorskip("boto3")
botocore_config = pytest.importorskip("botocore.config")
botocore_exceptions = pytest.importorskip("botocore.exceptions")


def runtime(url: str, key: str = "AKIDEXAMPLE", secret: str = "secret") -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=botocore_config.Config(retries={"max_attempts": 1}, proxies={}),
    )


def test_boto3_invokes_a_multi_model_endpoint(
    serving: Callable[..., Running], models_dir: Path, jpegs: list[bytes]
) -> None:
    client = runtime(serving("--models-dir", str(models_dir)).url)
    for target, folder in (("dog-breed-classifier/model.tar.gz", "work/m9"), ("m3/model.tar.gz", "m3"), ("m0", "m0")):
        response = client.invoke_endpoint(
            EndpointName="dog-breed-classifier-multi-endpoint",
            TargetModel=target,
            ContentType="application/x-image",
            Body=jpegs[0],
        )
        result = np.array(json.loads(response["Body"].read()), np.float32)
        assert np.array_equal(result, load(models_dir / folder).probabilities(jpegs[0]))
        assert response["ContentType"] == "application/json"
        assert response["InvokedProductionVariant"] == "AllTraffic"


def test_boto3_sends_every_header_and_gets_attributes_back(server: Running, jpegs: list[bytes]) -> None:
    response = runtime(server.url).invoke_endpoint(
        EndpointName="breeds",
        ContentType="image/jpeg",
        Accept="application/json;form=object",
        CustomAttributes="trace=1",
        TargetVariant="AllTraffic",
        InferenceId="picture 1",
        EnableExplanations="`true`",
        Body=jpegs[0],
    )
    assert response["CustomAttributes"] == "trace=1"
    assert "class_activation_map" in json.loads(response["Body"].read())["explanation"]
    request_id = response["ResponseMetadata"]["RequestId"]
    assert [line["inference_id"] for line in server.log_of(request_id)] == ["picture 1"]


def test_boto3_raises_the_services_errors(server: Running, jpegs: list[bytes]) -> None:
    client = runtime(server.url)
    with pytest.raises(client.exceptions.ModelError) as model_error:
        client.invoke_endpoint(EndpointName="breeds", ContentType="image/jpeg", Body=b"no picture")
    assert model_error.value.response["OriginalStatusCode"] == 400
    with pytest.raises(client.exceptions.ValidationError, match="There is no variant 'blue'"):
        client.invoke_endpoint(EndpointName="breeds", ContentType="image/jpeg", Body=jpegs[0], TargetVariant="blue")
    with pytest.raises(botocore_exceptions.ClientError) as too_large:
        client.invoke_endpoint(EndpointName="breeds", ContentType="image/jpeg", Body=bytes(30_000_000))
    assert too_large.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_signatures_are_checked_when_keys_are_configured(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    server = serving(str(saved_model), VIZSLA_SIGV4_KEYS="AKIDONE:secret-one,AKIDTWO:secret-two", VIZSLA_API_KEYS="k1")

    def invoke(key: str, secret: str) -> Any:
        return runtime(server.url, key, secret).invoke_endpoint(
            EndpointName="breeds", ContentType="image/jpeg", Accept="text/csv; q=0.9", Body=jpegs[0]
        )

    assert len(invoke("AKIDTWO", "secret-two")["Body"].read().split(b",")) == 7
    for key, secret, code in (
        ("AKIDTWO", "secret-one", "InvalidSignatureException"),
        ("NOBODY", "secret-one", "AccessDeniedException"),
    ):
        with pytest.raises(botocore_exceptions.ClientError) as refused:
            invoke(key, secret)
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    post = {"content": jpegs[0], "headers": {"content-type": "image/jpeg"}}
    assert server.client.post("/invocations", **post).json()["ErrorCode"] == "credentials"
    for header in ({"x-api-key": "k1"}, {"authorization": "Bearer k1"}):
        post["headers"] = {"content-type": "image/jpeg", **header}
        assert server.client.post("/invocations", **post).status_code == 200
    assert server.client.get("/status").status_code == 403
    assert server.client.delete("/models/breeds").status_code == 403
    assert server.client.get("/ping").status_code == 200


def test_headers_that_were_not_signed_are_refused(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    """Who stands between may not add a header that changes what is answered."""
    auth = pytest.importorskip("botocore.auth")
    awsrequest = pytest.importorskip("botocore.awsrequest")
    credentials = pytest.importorskip("botocore.credentials")
    server = serving(str(saved_model), VIZSLA_SIGV4_KEYS="AKIDONE:secret-one, AKIDTWO:secret-two")
    url = f"{server.url}/endpoints/breeds/invocations"
    request = awsrequest.AWSRequest("POST", url, {"content-type": "image/jpeg"}, jpegs[0])
    auth.SigV4Auth(credentials.Credentials("AKIDTWO", "secret-two"), "sagemaker", "us-east-1").add_auth(request)
    signed = {**dict(request.headers), "x-amzn-trace-id": "Root=1"}
    assert server.client.post(url, content=jpegs[0], headers=signed).status_code == 200
    added = {**signed, "X-Amzn-SageMaker-Target-Model": "breeds"}
    answer = server.client.post(url, content=jpegs[0], headers=added)
    assert (answer.status_code, answer.headers["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert "headers which were not signed: x-amzn-sagemaker-target-model" in answer.json()["Message"]


def test_the_sagemaker_sdks_endpoint_object(
    server: Running, saved_model: Path, jpegs: list[bytes], monkeypatch
) -> None:
    """sagemaker-core (the SDK's version 3) invokes with the identity serializer, as seed 003 does with version 2."""
    resources = pytest.importorskip("sagemaker.core.resources")
    serializers = pytest.importorskip("sagemaker.core.serializers")
    deserializers = pytest.importorskip("sagemaker.core.deserializers")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", server.url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "anything")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    endpoint = resources.Endpoint(
        endpoint_name="breeds",
        serializer=serializers.IdentitySerializer("image/jpeg"),
        deserializer=deserializers.JSONDeserializer(),
    )
    result = endpoint.invoke(body=jpegs[0], content_type="image/jpeg").body
    assert np.array_equal(np.array(result, np.float32), load(saved_model).probabilities(jpegs[0]))


SEED_003 = """
import sys, json, boto3, sagemaker
from sagemaker.predictor import Predictor
url, path = sys.argv[1:]
session = sagemaker.Session(
    boto_session=boto3.Session(region_name="us-east-1"),
    sagemaker_client=boto3.client("sagemaker", endpoint_url=url),
    sagemaker_runtime_client=boto3.client("sagemaker-runtime", endpoint_url=url),
    default_bucket="unused",
)
jpeg_serializer = sagemaker.serializers.IdentitySerializer("image/jpeg")
json_deserializer = sagemaker.deserializers.JSONDeserializer()

class ImgPredictor(Predictor):
    def __init__(self, endpoint_name, sagemaker_session):
        super(ImgPredictor, self).__init__(
            endpoint_name, sagemaker_session=sagemaker_session,
            serializer=jpeg_serializer, deserializer=json_deserializer,
        )

predictor = ImgPredictor("breeds", session)
with open(path, "rb") as f:
    print(json.dumps(predictor.predict(f.read(), initial_args={"ContentType": "image/jpeg"})))
"""


def test_the_predictor_of_the_sdks_version_2(
    server: Running, saved_model: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    """Seed 003's own class. Version 2 cannot be installed beside version 3: its interpreter is named from outside."""
    python = os.environ.get("VIZSLA_SAGEMAKER2_PYTHON")
    if not python:
        pytest.skip("needs VIZSLA_SAGEMAKER2_PYTHON, the python of an environment with sagemaker<3")
    (tmp_path / "photo.jpg").write_bytes(jpegs[0])
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    output = subprocess.run(
        [python, "-c", SEED_003, server.url, str(tmp_path / "photo.jpg")],
        env=clean | keys,
        capture_output=True,
        check=True,
        timeout=120,
    ).stdout
    result = np.array(json.loads(output.splitlines()[-1]), np.float32)
    assert np.array_equal(result, load(saved_model).probabilities(jpegs[0]))
