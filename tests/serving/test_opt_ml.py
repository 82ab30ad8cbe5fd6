"""``/opt/ml/model``, which so many inference scripts name: there for the code's own process, or told why not."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Running

CODE = """
import json, os, subprocess, sys
def model_fn(model_dir):
    with open("/opt/ml/model/NAME") as file:
        return json.load(file)
def input_fn(body, content_type): return body
def predict_fn(data, model):
    child = subprocess.check_output([sys.executable, "-c", "print(open('/opt/ml/model/classes.json').read())"])
    return [model, json.loads(child), sorted(os.listdir("/opt/ml/model"))]
"""
_DROP_FROM_BOUNDING_SET, _SYS_ADMIN = 24, 21  # prctl(2), capabilities(7)


def write(folder: Path, value: int, name: str = "classes.json") -> Path:
    """A model whose code opens a file below /opt/ml/model."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "inference.py").write_text(CODE.replace("NAME", name))
    (folder / "classes.json").write_text(json.dumps([value]))
    return folder


@pytest.fixture(scope="module")
def server(serving_all: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory, opt_ml: None) -> Running:
    """Models of one server that each open their own files by the same path."""
    root = tmp_path_factory.mktemp("models")
    write(root / "one", 1)
    packed = write(root.parent / "packed", 2)
    (root / "two").mkdir()
    with tarfile.open(root / "two" / "model.tar.gz", "w:gz") as tar:
        tar.add(packed, ".")
    write(root / "wrong", 3, "labels.json")
    write(root / "outside", 4, "../input/config/hyperparameters.json")
    (root / "outside" / "code" / "inference.py").write_text("def model_fn(d): return open('/opt/ml/input/data/x')\n")
    return serving_all("--models-dir", str(root), "--allow-code")


def _ask(server: Running, target: str) -> tuple[int, Any]:
    headers = {"content-type": "text/plain", "x-amzn-sagemaker-target-model": target}
    answer = server.client.post("/invocations", content=b"x", headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize(("target", "value"), [("one", 1), ("two/model.tar.gz", 2)])
def test_each_model_has_its_own(server: Running, target: str, value: int) -> None:
    """Also in what the code starts; and outside nothing of it is left."""
    before = sorted(os.listdir("/opt/ml")) if os.path.isdir("/opt/ml") else []
    assert _ask(server, target) == (200, [[value], [value], ["classes.json", "code"]])
    assert sorted(os.listdir("/opt/ml")) == before


@pytest.mark.parametrize(
    ("target", "line", "do"),
    [
        ("wrong", 4, "correct the name, or pack the file; the model has classes.json, code"),
        ("outside", 1, "open files below /opt/ml/model: behind an endpoint there is nothing else"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_what_is(server: Running, target: str, line: int, do: str) -> None:
    status, document = _ask(server, target)
    assert (status, document["Where"]) == (500, f"code/inference.py, line {line}")
    assert "The model's code failed in model_fn: FileNotFoundError" in document["Message"]
    assert document["Do"] == do


def test_where_no_process_gets_its_own_the_error_says_so(tmp_path: Path) -> None:
    """As in most containers: without the right to mount."""
    if os.geteuid() != 0 or os.path.exists("/opt/ml/model"):
        pytest.skip("takes away a right which root alone can")
    from_command = [sys.executable, "-c", "from vizsla.cli.main import main; main()", "serve"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    libc = ctypes.CDLL(None)
    process = subprocess.run(
        [*from_command, str(write(tmp_path / "own", 1)), "--allow-code", "--port", str(port)],
        preexec_fn=lambda: libc.prctl(_DROP_FROM_BOUNDING_SET, _SYS_ADMIN, 0, 0, 0),
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = " ".join(process.stderr.split())
    assert process.returncode
    assert "FileNotFoundError: [Errno 2] No such file or directory: '/opt/ml/model/classes.json'" in said
    assert (
        "do: open files below the folder that model_fn is given: there is no /opt/ml/model here "
        "(Operation not permitted)" in said
    )
