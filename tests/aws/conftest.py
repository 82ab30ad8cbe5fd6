"""A real server of the door in this process; each request and answer is held against botocore's service models."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator

from vizsla.aws import application, server
from vizsla.aws.client_environment import environment
from vizsla.aws.context import Context, Operation

_SERVICES = {"operations": "sagemaker", "metrics": "cloudwatch", "sagemaker_metrics": "sagemaker-metrics"}
"""The service of a module, where it has another name."""
_LOADED: dict[str, Any] = {}


def _model(service: str) -> Any:
    if service not in _LOADED:
        _LOADED[service] = botocore.session.get_session().get_service_model(service)
    return _LOADED[service]


def validated(service: str, name: str, operation: Operation) -> Operation:
    """An operation whose members, in and out, must be those of the service's model."""

    def call(ctx: Context, members: dict[str, Any]) -> dict[str, Any]:
        answer = operation(ctx, members)
        shape = _model(service).operation_model(name).output_shape
        if shape is not None:
            report = ParamValidator().validate(answer, shape)
            assert not report.has_errors(), f"{name}: {report.generate_report()}"
        return answer

    return call


@pytest.fixture(scope="module", autouse=True)
def _validate() -> Iterator[None]:
    plain = application.operations_of

    def all_validated(module: str) -> Mapping[str, Operation]:
        last = module.rpartition(".")[2]
        service = _SERVICES.get(last, last)
        return {name: validated(service, name, operation) for name, operation in plain(module).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "operations_of", all_validated)
        yield


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A server that runs, on a home of its own for the tests of one file."""
    before = dict(os.environ)
    os.environ["VIZSLA_TRACKING"] = "off"
    with server.serving(tmp_path_factory.mktemp("home") / "runs", port=0) as context:
        yield context
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def _same_home(request: pytest.FixtureRequest, _own_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The home of the server, where a test has one, and not that of each test."""
    if "ctx" in request.fixturenames:
        monkeypatch.setenv("VIZSLA_HOME", str(request.getfixturevalue("ctx").home))


Clients = Callable[[str], Any]


@pytest.fixture(scope="module")
def client(ctx: Context) -> Clients:
    """Makes a client of boto3 that talks to the server."""
    made: dict[str, Any] = {}
    session = boto3.Session("AKIDEXAMPLE", "secret", region_name="us-east-1")

    def make(service: str) -> Any:
        if service not in made:
            config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
            made[service] = session.client(service, endpoint_url=ctx.address, config=config)
        return made[service]

    return make


ROLE = "arn:aws:iam::000000000000:role/service-role/AmazonSageMaker-ExecutionRole"
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:1.8-cpu-py36"

TRAIN = """
import json, os, sys
print("arguments", sys.argv[1:])
print("loss: 0.5")
print("accuracy: 0.75")
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.txt"), "w") as file:
    file.write("weights")
with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "notes.txt"), "w") as file:
    file.write("notes")
"""


def archive(files: dict[str, str]) -> bytes:
    """A ``.tar.gz`` of these files, as the SDK packs code."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(scope="module")
def training(client: Clients) -> Callable[..., dict[str, Any]]:
    """Makes a CreateTrainingJob request as version 2 of the SDK sends it; the script lies in a bucket."""
    s3 = client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="data/train/one.txt", Body=b"one")

    def make(name: str, script: str = TRAIN, **members: Any) -> dict[str, Any]:
        s3.put_object(Bucket="bucket", Key=f"{name}/source/sourcedir.tar.gz", Body=archive({"train.py": script}))
        values = members.pop("HyperParameters", {"lr": "0.1", "name": '"res net"', "flag": "true"})
        return {
            "TrainingJobName": name,
            "RoleArn": ROLE,
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                "EnableSageMakerMetricsTimeSeries": True,
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss: ([0-9.]+)"}],
            },
            "HyperParameters": values
            | {
                "sagemaker_submit_directory": f'"s3://bucket/{name}/source/sourcedir.tar.gz"',
                "sagemaker_program": '"train.py"',
                "sagemaker_container_log_level": "20",
                "sagemaker_job_name": f'"{name}"',
                "sagemaker_region": '"us-east-1"',
            },
            "InputDataConfig": [
                {
                    "ChannelName": "train",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": "s3://bucket/data/train",
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                }
            ],
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out/"},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 86400},
        } | members

    return make


def until(describe: Callable[[], dict[str, Any]], member: str, *busy: str, seconds: float = 60) -> dict[str, Any]:
    """Ask until a state is none of the busy ones."""
    import time

    deadline = time.monotonic() + seconds
    while (answer := describe())[member] in busy:
        assert time.monotonic() < deadline, f"still {answer[member]} after {seconds} s"
        time.sleep(0.05)
    return answer


def sdk2() -> Path:
    """The interpreter of an environment with version 2 of the SageMaker SDK."""
    return _sdk("2", "sagemaker<3")


def sdk3() -> Path:
    """The interpreter of an environment with version 3 of the SageMaker SDK."""
    return _sdk("3", "sagemaker>=3")


def _sdk(version: str, package: str) -> Path:
    variable = f"VIZSLA_SAGEMAKER{version}_PYTHON"
    named = os.environ.get(variable)
    python = Path(named) if named else Path.home() / f".cache/vizsla/sagemaker{version}/bin/python"
    if not python.exists():
        pytest.skip(f"needs {variable}, the python of an environment with {package}")
    return python


def with_files(folder: Path, code: Mapping[str, str]) -> Path:
    """The folder that scripts of calls find: ``code/`` and ``data/`` in it."""
    for place, files in (("code", code), ("data", {"one.txt": "one"})):
        (folder / place).mkdir()
        for name, text in files.items():
            (folder / place / name).write_text(text)
    return folder


def run_calls(ctx: Context, python: Path, calls: str, folder: Path) -> dict[str, Any]:
    """What each row of a script of calls gave, run by an environment of the SDK as ``vizsla aws run`` does."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name(calls)), str(folder)],
        env=environment(ctx, inherited),
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
