"""What a script has trained is served by the inference.py that lay beside it, as SageMaker's SDK puts them together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import vizsla

if TYPE_CHECKING:
    from conftest import Running

TRAINS = """
import json, os, pathlib
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "weights").mkdir()
(model / "weights" / "w.json").write_text("[7]")
(model / "classes.json").write_text('["daisy", "rose"]')
"""
INFERS = """
import json, pathlib
def model_fn(model_dir):
    print("model_fn has", sorted(path.name for path in pathlib.Path(model_dir).iterdir()))
    (file,) = pathlib.Path(model_dir).rglob("w.json")
    words = (pathlib.Path(model_dir) / "code" / "words.txt").read_text()
    return [json.loads(file.read_text()), json.load(open("/opt/ml/model/classes.json")), words]
def input_fn(body, content_type): return body.decode()
def predict_fn(data, model): return [data, *model]
"""
SAID = ["x", [7], ["daisy", "rose"], "a word"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three jobs that were really run: with an inference.py beside the script, without, with all in one script."""
    root = tmp_path_factory.mktemp("scripts")
    sources = {
        "both": {"hpo.py": TRAINS, "inference.py": INFERS, "words.txt": "a word"},
        "alone": {"hpo.py": TRAINS},
        "one": {"hpo.py": INFERS + f"\nif __name__ == '__main__':\n    exec({TRAINS!r})\n", "words.txt": "a word"},
    }
    environment = {
        **os.environ,
        "VIZSLA_HOME": str(root / "runs"),
        "VIZSLA_TRACKING": "off",
        "PYTHONPATH": str(Path(vizsla.__file__).parents[1]),
    }
    for name, files in sources.items():
        (root / name).mkdir()
        for file, text in files.items():
            (root / name / file).write_text(text)
        train = ["train", "--script", "hpo.py", "--source-dir", str(root / name), "--name", name]
        command = [sys.executable, "-c", "from vizsla.cli.main import main; main()", *train]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
    return root / "runs"


@pytest.fixture(scope="module")
def server(serving_all: Callable[..., Running], runs: Path) -> Running:
    """All of them behind one server."""
    return serving_all("--models-dir", str(runs), "--allow-code")


def _ask(server: Running, target: str | None) -> tuple[int, object]:
    headers = {"content-type": "text/plain"} | ({"x-amzn-sagemaker-target-model": target} if target else {})
    answer = server.client.post("/invocations", content=b"x", headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("target", ["both", "both/model", "both/output/model.tar.gz"])
def test_a_job_is_served_by_its_inference_code(server: Running, target: str, opt_ml: None) -> None:
    """The job, or the archive that it has packed; model_fn gets what the script saved, and ``code/`` beside it."""
    assert _ask(server, target) == (200, SAID)
    assert "model_fn has ['classes.json', 'code', 'weights']" in server.log_file.read_text()


def test_a_job_and_its_model_are_one(server: Running, opt_ml: None) -> None:
    assert _ask(server, "both") == (200, SAID)
    assert server.client.get("/models/both/model").json()["modelName"] == "both"


@pytest.mark.parametrize("path", ["both", "both/model"])
def test_a_job_that_is_named(serving: Callable[..., Running], runs: Path, path: str, opt_ml: None) -> None:
    server = serving(str(runs / path), "--allow-code")
    assert _ask(server, None) == (200, SAID)
    assert server.client.get("/models").json()["models"][0]["modelName"] == "both"
    assert sorted(path.name for path in (runs / "both" / "model").iterdir()) == ["classes.json", "weights"]


def test_a_script_that_trains_and_infers(serving: Callable[..., Running], runs: Path, opt_ml: None) -> None:
    """As many of SageMaker's examples do; its SDK sets SAGEMAKER_PROGRAM when it deploys them."""
    server = serving(str(runs / "one"), "--allow-code", SAGEMAKER_PROGRAM="hpo.py")
    assert _ask(server, None) == (200, SAID)


@pytest.mark.parametrize("target", ["alone", "alone/model", "alone/output/model.tar.gz", "one"])
def test_without_inference_code_it_is_said_how_to_serve(server: Running, target: str) -> None:
    status, document = _ask(server, target)
    assert isinstance(document, dict)
    assert (status, document["ErrorCode"]) == (500, "target-damaged")
    assert "holds no saved model: model.json" in document["Message"]
    assert "put inference.py with a model_fn into code/ beside it (in a job: beside the script)" in document["Do"]
    assert "`vizsla serve --allow-code`" in document["Do"]
    assert "SAGEMAKER_PROGRAM" in document["Do"]


def test_the_archive_of_a_job_has_its_inference_code(runs: Path) -> None:
    """None where there is none, or where the script has saved its own."""

    def names(job: str) -> list[str]:
        with tarfile.open(runs / job / "output" / "model.tar.gz") as tar:
            return tar.getnames()

    saved = ["classes.json", "weights", "weights/w.json"]
    assert names("both") == [*saved, "code", "code/hpo.py", "code/inference.py", "code/words.txt"]
    assert names("alone") == names("one") == saved


def test_code_that_the_script_has_saved_comes_first(
    serving: Callable[..., Running], runs: Path, tmp_path: Path, opt_ml: None
) -> None:
    shutil.copytree(runs / "both", tmp_path / "job", symlinks=True)
    own = tmp_path / "job" / "model" / "code"
    own.mkdir()
    (own / "inference.py").write_text(INFERS.replace("[data, *model]", "'its own'"))
    (own / "words.txt").write_text("another")
    assert _ask(serving(str(tmp_path / "job"), "--allow-code"), None) == (200, "its own")
