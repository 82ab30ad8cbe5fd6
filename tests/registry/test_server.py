"""A registry that is a real server of MLflow's: files go there and come back, and promotions are seen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.batch.conftest import CLASSES
from tests.conftest import free_port
from tests.registry.conftest import Models
from tests.serving.conftest import start
from vizsla.models.model import load


@pytest.fixture
def server(tmp_path: Path, tables: Path) -> Iterator[str]:
    """The address of a server with empty tables."""
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(tables.read_bytes())
    command = [sys.executable, *f"-m mlflow server --host 127.0.0.1 --workers 1 --port {port}".split()]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health", trust_env=False).status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.2)
    yield address
    process.terminate()
    process.wait(30)


@pytest.mark.slow
def test_versions_on_a_server(
    server: str, models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    there = {"VIZSLA_TRACKING": server, "VIZSLA_CACHE": str(tmp_path / "cache")}
    for model in two_models:
        made = models("register", model, "--group", "colours", "--pictures", photos, **there)
        assert made["source"].startswith("mlflow-artifacts:")
    models("approve", "colours/1", "--alias", "champion", **there)
    assert [version["aliases"] for version in models("list", **there)["versions"]] == [["champion"], []]
    running = start(["models:/colours@champion"], tmp_path / "log", **there)
    picture = (photos / "red" / "000.jpg").read_bytes()
    first, second = (load(model).probabilities(picture).tolist() for model in two_models)
    assert len(first) == len(CLASSES)

    def said() -> object:
        answer = running.client.post("/invocations", content=picture, headers={"content-type": "image/jpeg"})
        assert answer.status_code == 200
        return answer.json()

    try:
        assert said() == first
        models("approve", "colours/2", "--alias", "champion", **there)
        deadline = time.monotonic() + 30
        while said() != second:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        running.stop()
    for file in (tmp_path / "server" / "files").rglob("head.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    elsewhere = there | {"VIZSLA_CACHE": str(tmp_path / "another-cache")}
    options = ("--output", tmp_path / "out", "--pictures", photos)
    words = models("export", "models:/colours@champion", *options, code=1, **elsewhere)["words"]
    assert "has of colours/2 is not what was registered and proven (its hash differs)" in words
    assert not list((tmp_path / "another-cache" / "registry").iterdir()), "nothing of it is kept"
