"""One port: which service a request is for, and what is refused before any of them is asked."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import create_parser

from tests.aws.conftest import until
from vizsla.aws.application import service_of
from vizsla.aws.context import Context
from vizsla.aws.server import running, serving
from vizsla.errors import UsageError

Clients = Callable[[str], Any]


def _scope(service: str) -> dict[bytes, bytes]:
    credential = f"AWS4-HMAC-SHA256 Credential=AKID/20261129/us-east-1/{service}/aws4_request, SignedHeaders=host"
    return {b"authorization": credential.encode()}


@pytest.mark.parametrize(
    ("method", "path", "headers", "service"),
    [
        ("POST", "/", {b"x-amz-target": b"SageMaker.ListModels"}, "sagemaker"),
        ("POST", "/", _scope("sts"), "sts"),
        ("POST", "/", _scope("iam"), "iam"),
        ("POST", "/endpoints/a/invocations", _scope("sagemaker"), "runtime"),
        ("POST", "/endpoints/a/invocations", _scope("s3"), "s3"),
        ("POST", "/endpoints/a/invocations", {}, "runtime"),
        ("PUT", "/endpoints/a/invocations", {}, "s3"),
        ("GET", "/", {}, "s3"),
    ],
)
def test_a_request_belongs_to_one_service(method: str, path: str, headers: dict[bytes, bytes], service: str) -> None:
    assert service_of(method, path, headers) == service


def _post(ctx: Context, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(urlsplit(ctx.address).netloc, timeout=10)
    connection.request("POST", "/", body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def test_an_operation_that_is_not_offered_is_named(ctx: Context) -> None:
    status, answer = _post(ctx, b"{}", X_Amz_Target="SageMaker.CreateNotebookInstance")
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert "CreateNotebookInstance" in answer["message"]
    status, answer = _post(ctx, b"{}", X_Amz_Target="DynamoDB_20120810.ListTables")
    assert (status, answer["__type"]) == (400, "UnknownOperationException")


def test_a_client_that_speaks_another_protocol_is_told_so(ctx: Context) -> None:
    authorization = _scope("ecr")[b"authorization"].decode()
    status, answer = _post(ctx, b"Action=DescribeRepositories", Authorization=authorization)
    assert status == 400
    assert "newer client" in answer["message"]
    connection = http.client.HTTPConnection(urlsplit(ctx.address).netloc, timeout=10)
    sent = {"Smithy-Protocol": "rpc-v2-cbor", "Authorization": _scope("monitoring")[b"authorization"].decode()}
    connection.request("POST", "/service/X/operation/ListMetrics", b"\xa0", sent)
    response = connection.getresponse()
    raw = {"body": response.read(), "headers": dict(response.getheaders()), "status_code": response.status}
    parsed = create_parser("smithy-rpc-v2-cbor").parse(raw, None)
    assert parsed["Error"]["Message"] == "RPC v2 CBOR is not spoken here; JSON and Query are."


@pytest.mark.parametrize(
    ("service", "operation"), [("ec2", "describe_instances"), ("sns", "list_topics"), ("lambda", "list_functions")]
)
def test_a_service_that_is_not_offered_is_named_in_its_own_protocol(
    client: Clients, service: str, operation: str
) -> None:
    with pytest.raises(ClientError, match=f"The service '{service}' is not offered here. Offered are SageMaker,"):
        getattr(client(service), operation)()


def test_members_of_a_wrong_type_are_the_clients_fault(ctx: Context) -> None:
    body = b'{"TrainingJobName": "a", "AlgorithmSpecification": 5}'
    status, answer = _post(ctx, body, X_Amz_Target="SageMaker.CreateTrainingJob")
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert answer["message"].startswith("Invalid type for parameter AlgorithmSpecification, value: 5")


def test_a_form_that_contradicts_itself(ctx: Context) -> None:
    connection = http.client.HTTPConnection(urlsplit(ctx.address).netloc, timeout=10)
    sent = {"Authorization": _scope("iam")[b"authorization"].decode()}
    connection.request("POST", "/", b"Action=GetRole&RoleName=a&RoleName.member.1=b", sent)
    response = connection.getresponse()
    assert (response.status, b"MalformedQueryString" in response.read()) == (400, True)


def test_a_client_that_leaves_in_its_body_is_no_fault_of_the_server(
    ctx: Context, capsys: pytest.CaptureFixture[str]
) -> None:
    host, port = urlsplit(ctx.address).hostname, urlsplit(ctx.address).port
    with socket.create_connection((host, port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.ListModels\r\n")
        connection.sendall(b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.1)
    time.sleep(0.2)
    assert "Traceback" not in capsys.readouterr().err


def test_a_body_that_is_no_json(ctx: Context) -> None:
    status, answer = _post(ctx, b"{", X_Amz_Target="SageMaker.ListModels")
    assert (status, answer["__type"]) == (400, "SerializationException")


def test_a_page_of_another_site_is_refused(ctx: Context) -> None:
    status, answer = _post(ctx, b"{}", X_Amz_Target="SageMaker.ListModels", Origin="https://evil.example")
    assert (status, answer["__type"]) == (403, "AccessDenied")


def test_a_member_that_is_missing_is_named(ctx: Context) -> None:
    status, answer = _post(ctx, b"{}", X_Amz_Target="SageMaker.DescribeModel")
    assert (status, answer["__type"]) == (400, "ValidationException")
    assert "modelName" in answer["message"]


def test_one_server_a_home(ctx: Context) -> None:
    with pytest.raises(UsageError, match="A server runs on this home already") as caught, serving(ctx.home, port=0):
        pass
    assert caught.value.where == ctx.address
    found = running(ctx.home)
    assert found is not None
    assert (found.address, found.pid) == (ctx.address, os.getpid())


def test_a_port_that_is_taken(ctx: Context, tmp_path: Path) -> None:
    port = urlsplit(ctx.address).port
    with pytest.raises(UsageError, match=f"The port {port} is taken"), serving(tmp_path / "other", port=port):
        pass


def test_who_asks_and_as_whom(client: Clients) -> None:
    told = client("sts").get_caller_identity()
    assert told["Account"] == "000000000000"
    assert told["Arn"].startswith("arn:aws:sts::000000000000:assumed-role/")
    role = client("iam").get_role(RoleName="MyRole")["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/MyRole"


def test_repositories_are_names(client: Clients) -> None:
    ecr = client("ecr")
    made = ecr.create_repository(repositoryName="dog/breeds")["repository"]
    assert made["repositoryUri"] == "000000000000.dkr.ecr.us-east-1.amazonaws.com/dog/breeds"
    assert ecr.describe_repositories()["repositories"][0]["repositoryName"] == "dog/breeds"
    with pytest.raises(ClientError) as caught:
        ecr.create_repository(repositoryName="dog/breeds")
    assert caught.value.response["Error"]["Code"] == "RepositoryAlreadyExistsException"
    assert ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]


def test_jobs_outlive_a_server_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """kill -9 in the middle of a job: the job goes on, the next server finds it and brings its model to the bucket."""
    import boto3

    from tests.aws.conftest import IMAGE, ROLE, archive

    home = tmp_path / "killed"
    environment = os.environ | {"VIZSLA_HOME": str(home), "VIZSLA_TRACKING": "off"}
    command = [sys.executable, "-m", "vizsla", "aws", "run", "--port"]

    def start(port: int) -> tuple[subprocess.Popen[bytes], str]:
        process = subprocess.Popen([*command, str(port)], env=environment, stderr=subprocess.DEVNULL)
        request.addfinalizer(process.kill)
        for _ in range(400):
            if (found := running(home)) is not None:
                return process, found.address
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    from tests.conftest import free_port

    port = free_port()
    process, address = start(port)
    session = boto3.Session("AKID", "secret", region_name="us-east-1")
    sagemaker, s3 = (session.client(name, endpoint_url=address) for name in ("sagemaker", "s3"))
    until(lambda: {"is": _answers(s3)}, "is", False)
    s3.create_bucket(Bucket="bucket")
    script = "import os, time\nprint('begun', flush=True)\ntime.sleep(2)\n"
    script += "open(os.environ['SM_MODEL_DIR'] + '/m', 'w').write('m')"
    s3.put_object(Bucket="bucket", Key="code.tar.gz", Body=archive({"train.py": script}))
    for name in ("survivor", "waiting"):  # the second has no room beside the first
        sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            HyperParameters={
                "sagemaker_program": '"train.py"',
                "sagemaker_submit_directory": '"s3://bucket/code.tar.gz"',
            },
            OutputDataConfig={"S3OutputPath": "s3://bucket/out"},
            ResourceConfig={"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
        )
    until(lambda: {"is": "begun" in _text(home / "survivor" / "logs.txt")}, "is", False)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process, _ = start(port)
    until(lambda: {"is": _answers(s3)}, "is", False)
    for name in ("survivor", "waiting"):
        told = until(_describe(sagemaker, name), "TrainingJobStatus", "InProgress")
        assert told["TrainingJobStatus"] == "Completed", told.get("FailureReason")
        assert s3.head_object(Bucket="bucket", Key=f"out/{name}/output/model.tar.gz")["ContentLength"] > 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def _describe(sagemaker: Any, name: str) -> Callable[[], dict[str, Any]]:
    return lambda: dict(sagemaker.describe_training_job(TrainingJobName=name))


def _answers(s3: Any) -> bool:
    try:
        s3.list_buckets()
    except Exception:  # noqa: BLE001 - it is not there yet
        return False
    return True


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
