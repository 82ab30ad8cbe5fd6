"""``vizsla serve --executor ray`` by the command line, on the cluster of the environment and by Ray's client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
from tests.patience import come
from tests.serving.conftest import write_model
from vizsla.models.export import ExportedBackbone
from vizsla.models.model import load


def test_the_command_serves_on_a_cluster_by_its_clients_address(
    ray_cluster: Any, tmp_path: Path, tiny_backbone: ExportedBackbone, folder_of_photos: Callable[..., Path]
) -> None:
    model = write_model(tmp_path / "model", tiny_backbone, classes=("blue", "green", "red"))
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    environment = os.environ | {"VIZSLA_TRACKING": "off"}
    del environment["RAY_ADDRESS"]
    for executor in ("ray", f"ray://127.0.0.1:{ray_cluster.client_port}"):
        port = free_port()
        asked = [*(sys.executable, "-m", "vizsla", "serve", str(model), "--port", str(port))]
        asked += ["--executor", executor, "--replicas", "1"]
        own = environment | ({"RAY_ADDRESS": ray_cluster.address} if executor == "ray" else {})
        server = subprocess.Popen(asked, env=own, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        line = next((line for line in server.stderr if "serving at" in line), "")
        assert f"serving at http://127.0.0.1:{port}, with 1 replicas; Ctrl-C ends them" in line
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations", content=picture, headers={"Content-Type": "image/jpeg"}, timeout=60
        )
        assert answer.json() == pytest.approx(load(model).probabilities(picture).tolist())
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert come(lambda port=port: not _answers(port)), "its replicas are gone"


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
