"""What ``vizsla serve`` says when it cannot start, and what it does once when it can."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from forked import Forked

import vizsla
from vizsla.errors import ModelError, UsageError
from vizsla.models.model import load
from vizsla.serving.access import Access

if TYPE_CHECKING:
    from conftest import Running


def serve(*arguments: str, **environment: str) -> tuple[int, str]:
    with tempfile.NamedTemporaryFile() as log:
        process = Forked(["serve", *arguments], Path(log.name), {**os.environ, **environment})
        try:
            return process.wait(60), Path(log.name).read_text("utf-8")
        finally:
            process.kill()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    code, words = serve(str(tmp_path / "none"), "--port", str(free_port()))
    assert code == 1
    assert "There is no model here." in words
    assert str(tmp_path / "none") in words


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_model_that_is_damaged(write_model: Any, backbone: Any, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", backbone)
    (model / "head.safetensors").write_bytes(b"broken")
    code, words = serve(str(model), "--port", str(free_port()))
    assert code == 1
    assert "head.safetensors is not the file that the model was saved with" in words


@pytest.mark.parametrize("code", [(), ("--allow-code",)])
def test_a_file_that_is_no_model(tmp_path: Path, code: tuple[str, ...]) -> None:
    (tmp_path / "notes.txt").write_text("not a model")
    status, words = serve(str(tmp_path / "notes.txt"), *code, "--port", str(free_port()))
    assert status == 1
    assert "it is no archive, or its beginning is broken" in words
    assert "a job directory, or a model.tar.gz" in words


def test_a_port_that_is_taken(saved_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, words = serve(str(saved_model), "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "Address already in use" in words
    assert "choose another --port" in words


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["m", "--models-dir", "x"], {}, "Models and --models-dir were both given."),
        (["--models-dir", "absent"], {}, "There is no such folder of models."),
        (["--models-dir", "s3://"], {}, "'s3://' names no bucket."),
        (["a/dogs", "b/dogs"], {}, "Two models have the name 'dogs'."),
        (["m", "--host", "0.0.0.0"], {}, "everybody who can reach this machine could use the server"),
        (["m"], {"VIZSLA_SIGV4_KEYS": "AKID"}, "VIZSLA_SIGV4_KEYS cannot be read."),
        (["m"], {"VIZSLA_SIGV4_KEYS": "ÄKID:s"}, "VIZSLA_SIGV4_KEYS holds a key id that no header can carry."),
        (["m"], {"VIZSLA_API_KEYS": "k1,schlüssel"}, "VIZSLA_API_KEYS holds a key that no header can carry."),
        (["m", "--public-origin", "example.com/x"], {}, "'example.com/x' is no origin."),
        (["m"], {"VIZSLA_THREADS": "many"}, "VIZSLA_THREADS='many' is not a usable number."),
        (["m"], {"SAGEMAKER_PROGRAM": "../train.py"}, "'../train.py' cannot name the script of a model's own code."),
        (["m"], {"SAGEMAKER_PROGRAM": "/opt/train.py"}, "allowed: a file in the model's code/, such as inference.py"),
    ],
)
def test_options_that_cannot_be_meant(arguments: list[str], environment: dict[str, str], words: str) -> None:
    code, said = serve(*arguments, **environment)
    assert code == 2
    assert words in said


def test_a_bucket_that_cannot_be_reached(tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    login = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}
    code, words = serve("s3://bucket/dogs/model.tar.gz", VIZSLA_CACHE=str(tmp_path), **login)
    assert code == 1
    assert words.rstrip().endswith(
        "vizsla: The model cannot be fetched: The endpoint cannot be reached.\n  where: s3://bucket/dogs/model.tar.gz\n"
        "  do: check the network and AWS_ENDPOINT_URL_S3, then run the command again: it goes on where it stopped"
    )


def test_a_bucket_that_cannot_be_reached_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    for name, value in (("ACCESS_KEY_ID", "a"), ("SECRET_ACCESS_KEY", "b"), ("ENDPOINT_URL_S3", "http://127.0.0.1:9")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        vizsla.serve("s3://bucket/dogs/model.tar.gz")
    assert str(caught.value) == (
        "The model cannot be fetched: The endpoint cannot be reached.\n  where: s3://bucket/dogs/model.tar.gz\n"
        "  do: check the network and AWS_ENDPOINT_URL_S3, then call it again: it goes on where it stopped"
    )


def test_a_server_for_others_wants_keys_in_the_words_of_its_door() -> None:
    with pytest.raises(UsageError) as caught:
        Access.from_environment("192.0.2.1", anonymous=False)
    assert caught.value.parameter == "host"
    assert str(caught.value) == (
        "On 192.0.2.1 everybody who can reach this machine could use the server.\n  where: parameter host\n"
        "  do: set VIZSLA_API_KEYS or VIZSLA_SIGV4_KEYS, or listen on 127.0.0.1, or say allow_anonymous=True"
    )


def test_an_ipv6_address_is_written_in_brackets(saved_model: Path) -> None:
    """In the server's own line, and where it cannot listen."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    port = free_port()
    command = [sys.executable, "-c", "from vizsla.cli.main import main; main()", "serve", str(saved_model)]
    with subprocess.Popen([*command, "--host", "::1", "--port", str(port)], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = next(line for line in map(json.loads, process.stderr) if "address" in line)
        code, words = serve(str(saved_model), "--host", "::1", "--port", str(port))
        process.terminate()
    assert line["address"] == f"http://[::1]:{port}"
    assert (code, f"Cannot listen on [::1]:{port}: " in words) == (2, True)


def test_others_get_in_with_a_key_or_when_allowed(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    post = {"content": jpegs[0], "headers": {"content-type": "image/jpeg"}}
    guarded = serving(str(saved_model), "--host", "0.0.0.0", VIZSLA_API_KEYS="secret")
    assert guarded.client.post("/invocations", **post).status_code == 403
    opened = serving(str(saved_model), "--host", "0.0.0.0", "--allow-anonymous")
    assert opened.client.post("/invocations", **post).status_code == 200


def test_the_platforms_payload_limit_is_in_mib_and_0_is_its_maximum(
    serving: Callable[..., Running], saved_model: Path
) -> None:
    unlimited = serving(str(saved_model), SAGEMAKER_MAX_PAYLOAD_IN_MB="0")
    assert unlimited.client.get("/execution-parameters").json()["MaxPayloadInMB"] == 100
    one = serving(str(saved_model), SAGEMAKER_MAX_PAYLOAD_IN_MB="1")
    headers = {"content-type": "image/jpeg"}
    assert one.client.post("/invocations", content=bytes(2**20), headers=headers).status_code == 400
    over = one.client.post("/invocations", content=bytes(2**20 + 1), headers=headers)
    assert (over.status_code, over.json()["Allowed"]) == (413, "at most 1 MiB")


def test_a_container_serves_what_the_platform_puts_there(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    """Without arguments: the one model of ``/opt/ml/model``, here below another base."""
    shutil.copytree(saved_model, tmp_path / "model")
    server = serving(SAGEMAKER_BASE_DIR=str(tmp_path))
    post = {"content": jpegs[0], "headers": {"content-type": "image/jpeg"}}
    assert np.array_equal(
        np.array(server.client.post("/invocations", **post).json(), np.float32),
        load(saved_model).probabilities(jpegs[0]),
    )
    assert server.client.get("/status").json()["default"] == "model"


def test_a_container_of_many_models_waits_for_the_first(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes], tmp_path: Path
) -> None:
    """Nothing is in ``/opt/ml/models`` when it starts, and it need not be there."""
    server = serving(SAGEMAKER_BASE_DIR=str(tmp_path), SAGEMAKER_MULTI_MODEL="true")
    url = tmp_path / "models" / "9a7f" / "model"
    loading = {"model_name": "9a7f", "url": str(url)}
    early = server.client.post("/models", json=loading)
    assert (early.status_code, early.json()["ErrorCode"]) == (404, "target-unknown")
    shutil.copytree(saved_model, url)
    assert server.client.post("/models", json=loading).status_code == 200
    headers = {"content-type": "image/jpeg", "x-amzn-sagemaker-target-model": "dogs/model.tar.gz"}
    answer = server.client.post("/models/9a7f/invoke", content=jpegs[0], headers=headers)
    assert np.array_equal(np.array(answer.json(), np.float32), load(saved_model).probabilities(jpegs[0]))
    assert server.client.get("/models").json() == {"models": [{"modelName": "9a7f", "modelUrl": str(url)}]}


def test_one_endpoint_name_only_when_asked(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    server = serving(str(saved_model), "--endpoint-name", "dogs")
    post = {"content": jpegs[0], "headers": {"content-type": "image/jpeg"}}
    assert server.client.post("/endpoints/dogs/invocations", **post).status_code == 200
    other = server.client.post("/endpoints/cats/invocations", **post)
    assert (other.status_code, other.headers["x-amzn-errortype"]) == (400, "ValidationError")
    assert "Endpoint cats of account local not found." in other.json()["Message"]
