"""Scripts as processing jobs, as ScriptProcessor and FrameworkProcessor send them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.conftest import ROLE, archive, until
from vizsla.aws import images
from vizsla.aws.context import Context

Clients = Callable[[str], Any]
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"

PREPARE = """
import json, os, sys
folder = "/opt/ml/processing/input"
pictures = sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)
with open("/opt/ml/processing/train/list.json", "w") as file:
    json.dump([pictures, sys.argv[1:], os.environ["SIZE"]], file)
with open("/opt/ml/config/processingjobconfig.json") as file:
    print("job", json.load(file)["ProcessingJobName"])
"""


def _request(name: str, command: list[str], **inputs: str) -> dict[str, Any]:
    folders = {"code": "/opt/ml/processing/input/code", "pictures": "/opt/ml/processing/input/pictures"}
    output = {"S3Uri": f"s3://pictures/{name}/train", "LocalPath": "/opt/ml/processing/train"}
    return {
        "ProcessingJobName": name,
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": IMAGE,
            "ContainerEntrypoint": command,
            "ContainerArguments": ["--ratio", "0.2"],
        },
        "Environment": {"SIZE": "64"},
        "ProcessingInputs": [
            {
                "InputName": key,
                "S3Input": {
                    "S3Uri": address,
                    "LocalPath": folders[key],
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
            for key, address in inputs.items()
        ],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "a", "S3Output": output | {"S3UploadMode": "EndOfJob"}}]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
    }


def _ended(client: Clients, name: str) -> dict[str, Any]:
    sagemaker = client("sagemaker")
    return until(lambda: sagemaker.describe_processing_job(ProcessingJobName=name), "ProcessingJobStatus", "InProgress")


@pytest.fixture(scope="module")
def bucket(client: Clients) -> str:
    s3 = client("s3")
    s3.create_bucket(Bucket="pictures")
    s3.put_object(Bucket="pictures", Key="code/prepare.py", Body=PREPARE.encode())
    for key in ("set/rose/a.jpg", "set/tulip/b.jpg"):
        s3.put_object(Bucket="pictures", Key=key, Body=key.encode())
    return "pictures"


def test_a_script_finds_its_inputs_and_leaves_its_outputs(client: Clients, bucket: str, ctx: Context) -> None:
    command = ["python3", "/opt/ml/processing/input/code/prepare.py"]
    request = _request("prepare", command, pictures="s3://pictures/set", code="s3://pictures/code/prepare.py")
    client("sagemaker").create_processing_job(**request)
    told = _ended(client, "prepare")
    assert told["ProcessingJobStatus"] == "Completed", told.get("FailureReason")
    for member in ("ProcessingInputs", "ProcessingOutputConfig", "AppSpecification", "Environment"):
        assert told[member] == request[member]
    written = client("s3").get_object(Bucket=bucket, Key="prepare/train/list.json")["Body"].read()
    assert written == b'[["code/prepare.py", "pictures/rose/a.jpg", "pictures/tulip/b.jpg"], ["--ratio", "0.2"], "64"]'
    listed = client("sagemaker").list_processing_jobs(NameContains="prepare")["ProcessingJobSummaries"]
    assert [one["ProcessingJobName"] for one in listed] == ["prepare"]
    logs = client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix="prepare/"
    )
    assert "job prepare" in [one["message"] for one in logs["events"]]
    client("sagemaker").delete_processing_job(ProcessingJobName="prepare")
    assert (ctx.home / "buckets" / "pictures" / "prepare" / "train" / "list.json").is_file()


def test_what_a_script_unpacks_beside_its_inputs_stays_in_the_job(client: Clients, bucket: str, ctx: Context) -> None:
    """FrameworkProcessor sends an archive, and a shell script that unpacks it where it lies."""
    s3 = client("s3")
    s3.put_object(Bucket=bucket, Key="packed/sourcedir.tar.gz", Body=archive({"prepare.py": PREPARE}))
    shell = b'cd /opt/ml/processing/input/code\ntar -xzf sourcedir.tar.gz\nset -e\npython prepare.py "$@"\n'
    s3.put_object(Bucket=bucket, Key="packed/runproc.sh", Body=shell)
    command = ["/bin/bash", "/opt/ml/processing/input/code/runproc.sh"]
    client("sagemaker").create_processing_job(**_request("packed-code", command, code="s3://pictures/packed"))
    told = _ended(client, "packed-code")
    assert told["ProcessingJobStatus"] == "Completed", told.get("FailureReason")
    assert b"code/prepare.py" in s3.get_object(Bucket=bucket, Key="packed-code/train/list.json")["Body"].read()
    assert not (ctx.home / "buckets" / "pictures" / "packed" / "prepare.py").exists()


def test_a_custom_image_runs_the_script_of_the_table(
    client: Clients, bucket: str, ctx: Context, tmp_path: Path
) -> None:
    (tmp_path / "count.py").write_text("import os\nprint(len(os.listdir('/opt/ml/processing/input/pictures')))\n")
    images.add(ctx.state, "count-pictures", tmp_path, "count.py")
    request = _request("count", [], pictures="s3://pictures/set")
    request["AppSpecification"] = {"ImageUri": "000000000000.dkr.ecr.us-east-1.amazonaws.com/count-pictures:1"}
    client("sagemaker").create_processing_job(**request)
    assert _ended(client, "count")["ProcessingJobStatus"] == "Completed"
    assert (ctx.home / "count" / "logs.txt").read_text().splitlines()[-1] == "2"


def test_a_script_that_fails_says_why(client: Clients, bucket: str) -> None:
    client("s3").put_object(Bucket=bucket, Key="code/broken.py", Body=b"raise ValueError('no pictures found')")
    command = ["python3", "/opt/ml/processing/input/code/broken.py"]
    client("sagemaker").create_processing_job(**_request("broken", command, code="s3://pictures/code/broken.py"))
    told = _ended(client, "broken")
    assert told["ProcessingJobStatus"] == "Failed"
    assert "no pictures found" in told["FailureReason"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"S3Uri": "s3://nobody/set", "LocalPath": "/opt/ml/processing/in"}, r"needs `vizsla aws run --pass-through`"),
        ({"S3Uri": "s3://pictures/nothing", "LocalPath": "/opt/ml/processing/in"}, r"where: s3://pictures/nothing"),
        ({"S3Uri": "s3://pictures/set", "LocalPath": "/data"}, r"paths below /opt/ml/processing"),
        ({"S3Uri": "s3://pictures/set", "LocalPath": "/opt/ml/processing/../x"}, r"paths below /opt/ml/processing"),
    ],
)
def test_what_cannot_run_is_refused_in_words(
    client: Clients, bucket: str, ctx: Context, inputs: dict[str, str], words: str
) -> None:
    request = _request("refused", ["python3", "x.py"])
    source = inputs | {"S3DataType": "S3Prefix", "S3InputMode": "File"}
    request["ProcessingInputs"] = [{"InputName": "in", "S3Input": source}]
    with pytest.raises(ClientError, match=words):
        client("sagemaker").create_processing_job(**request)
    assert not (ctx.home / "refused").exists()
