"""What the images run: both programs in a namespace whose ``/opt/ml`` is a job's, as SageMaker starts them; and the
files that describe images and clusters."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vizsla.models.export import ExportedBackbone

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "packaging" / "docker"
ASK = """
import json, sys, time, urllib.error, urllib.request
address = "http://127.0.0.1:8080"
for _ in range(600):
    try:
        assert urllib.request.urlopen(address + "/ping").status == 200
        break
    except (OSError, urllib.error.URLError):
        time.sleep(0.1)
picture = open(sys.argv[1], "rb").read()
asked = urllib.request.Request(address + "/invocations", picture, {"Content-Type": "image/jpeg"})
print("ANSWER", json.loads(urllib.request.urlopen(asked).read()))
"""


def test_train_and_serve_run_as_sagemaker_starts_them(
    opt_ml: None, tmp_path: Path, folder_of_photos: Callable[..., Path], tiny_backbone: ExportedBackbone
) -> None:
    if shutil.which("ip") is None or subprocess.run(["unshare", "-mn", "true"], capture_output=True).returncode:
        pytest.skip("this system does not let a process have its own /opt/ml and network")
    place, photos = tmp_path / "ml", folder_of_photos({"red": 20, "green": 20})
    for folder in ("input/config", "input/data", "model", "output"):
        (place / folder).mkdir(parents=True)
    shutil.copytree(photos, place / "input" / "data" / "training")
    hyperparameters = {"backbone": "test_resnet", "random-init": "true", "sagemaker_region": '"us-east-1"'}
    (place / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    (tmp_path / "ask.py").write_text(ASK)
    words = (
        f"set -e; ip link set lo up; mkdir -p /opt/ml; mount --bind {place} /opt/ml; cd /; {DOCKER}/train; "
        f"{DOCKER}/serve 2>/dev/null & server=$!; "
        f"python {tmp_path}/ask.py {next(photos.rglob('*.jpg'))}; kill $server"
    )
    paths = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment = {name: value for name, value in os.environ.items() if name != "VIZSLA_HOME"} | paths
    done = subprocess.run(["unshare", "-mn", "sh", "-c", words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "model" / "model.json").is_file()
    assert not (place / "output" / "failure").exists()
    answer = json.loads(re.findall(r"ANSWER (.*)", done.stdout)[0].replace("'", '"'))
    assert sum(answer) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["train", "serve", "ray"])
def test_images_are_slim_not_root_and_built_from_the_wheel(name: str) -> None:
    text = (DOCKER / f"{name}.Dockerfile").read_text()
    assert re.findall(r"^FROM (.*)", text, re.MULTILINE) == ["python:3.12-slim"]
    assert "COPY dist/*.whl" in text
    users = re.findall(r"^USER (.*)", text, re.MULTILINE)
    assert users == ["vizsla"]
    assert text.index("USER vizsla") > text.rindex("RUN ")
    for copied in re.findall(r"^COPY .*?(packaging/\S+)", text, re.MULTILINE):
        assert os.access(ROOT / copied, os.X_OK)
    extras = set(re.findall(r"\[([\w,]+)\]", text)[0].split(","))
    known = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    assert extras <= known
    assert ("train" in extras) == (name != "serve"), "torch"
