"""Models on S3: a real server process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

boto3 = pytest.importorskip("boto3")
pytest.importorskip("obstore")
pytestmark = pytest.mark.s3

LOGIN = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def filled(s3_server: str, models_dir: Path) -> str:
    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        aws_access_key_id="S3RVER",
        aws_secret_access_key="S3RVER",
        region_name="us-east-1",
    )
    archive = models_dir / "dog-breed-classifier" / "model.tar.gz"
    client.upload_file(str(archive), "models", "prod/dog-breed-classifier/model.tar.gz")
    client.put_object(Bucket="models", Key="prod/broken/model.tar.gz", Body=b"no archive")
    return s3_server


def test_many_models_under_a_prefix(
    serving: Callable[..., Running], filled: str, models_dir: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    server = serving(
        "--models-dir", "s3://models/prod", AWS_ENDPOINT_URL_S3=filled, VIZSLA_CACHE=str(tmp_path), **LOGIN
    )

    def ask(target: str) -> tuple[int, object]:
        headers = {"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": target}
        answer = server.client.post("/invocations", content=jpegs[0], headers=headers)
        return answer.status_code, answer.json()

    status, found = ask("dog-breed-classifier/model.tar.gz")
    assert status == 200
    assert np.array_equal(np.array(found, np.float32), load(models_dir / "work" / "m9").probabilities(jpegs[0]))
    held = [path.readlink().name for path in Path(f"/proc/{server.process.pid}/fd").iterdir() if path.is_symlink()]
    assert not [name for name in held if name.endswith(".use")]  # thousands of models are not thousands of files
    assert ask("absent/model.tar.gz")[0] == 404
    assert ask("../secret/model.tar.gz")[0] == 400
    status, broken = ask("broken/model.tar.gz")
    assert status == 500
    assert "The archive is damaged" in str(broken)
    listed = server.client.get("/models").json()["models"]
    assert listed == [
        {
            "modelName": "dog-breed-classifier/model.tar.gz",
            "modelUrl": "s3://models/prod/dog-breed-classifier/model.tar.gz",
        }
    ]


def test_one_model_by_its_address(
    serving: Callable[..., Running], filled: str, models_dir: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    address = "s3://models/prod/dog-breed-classifier/model.tar.gz"
    server = serving(address, AWS_ENDPOINT_URL_S3=filled, VIZSLA_CACHE=str(tmp_path), **LOGIN)
    answer = server.client.post("/invocations", content=jpegs[0], headers={"content-type": "image/jpeg"})
    expected = load(models_dir / "work" / "m9").probabilities(jpegs[0])
    assert np.array_equal(np.array(answer.json(), np.float32), expected)
    assert server.client.get("/status").json()["default"] == "dog-breed-classifier"


def test_a_store_that_cannot_be_reached_says_so(
    serving: Callable[..., Running], jpegs: list[bytes], tmp_path: Path
) -> None:
    server = serving(
        "--models-dir", "s3://models", AWS_ENDPOINT_URL_S3="http://127.0.0.1:9", VIZSLA_CACHE=str(tmp_path), **LOGIN
    )
    headers = {"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": "a.tar.gz"}
    answer = server.client.post("/invocations", content=jpegs[0], headers=headers, timeout=120)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (500, "target-damaged")
    assert "The endpoint cannot be reached" in answer.json()["Message"]
    assert "AWS_ENDPOINT_URL_S3" in answer.json()["Do"]


def test_no_model_of_a_prefix_is_loaded_by_address(
    serving: Callable[..., Running], filled: str, tmp_path: Path
) -> None:
    server = serving("--models-dir", "s3://models", AWS_ENDPOINT_URL_S3=filled, VIZSLA_CACHE=str(tmp_path), **LOGIN)
    answer = server.client.post("/models", json={"model_name": "dogs", "url": "s3://models/dogs.tar.gz"})
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "target-name")
    assert answer.json()["Message"] == "Models under an s3:// prefix are not loaded by POST /models."
    assert answer.json()["Do"] == "name the model in TargetModel: its first request loads it"
