"""``vizsla serve --executor ray`` by the command line, on the cluster of the environment and by Ray's client."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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
from vizsla.serving.ray_serve import _is_served


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


@pytest.mark.slow
def test_a_second_command_takes_over(
    ray_cluster: Any, tmp_path: Path, tiny_backbone: ExportedBackbone, folder_of_photos: Callable[..., Path]
) -> None:
    """What the first would end is no longer its own."""
    models = [write_model(tmp_path / f"m{seed}", tiny_backbone, seed=seed, classes=("a", "b", "c")) for seed in (0, 1)]
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    port, commands = free_port(), []
    for model in models:
        command, line = start(model, port)
        commands.append(command)
        assert f"serving at http://127.0.0.1:{port}, with 1 replicas; Ctrl-C ends them" in line
    commands[0].send_signal(signal.SIGINT)
    assert commands[0].wait(60) == 0
    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations", content=picture, headers={"Content-Type": "image/jpeg"}, timeout=60
    )
    assert answer.json() == pytest.approx(load(models[1]).probabilities(picture).tolist())
    commands[1].send_signal(signal.SIGINT)
    assert commands[1].wait(60) == 0
    assert come(lambda: not _answers(port)), "its replicas are gone"


@pytest.mark.usefixtures("no_room")
@pytest.mark.slow
def test_a_command_whose_replicas_find_no_room_can_be_ended(
    ray_cluster: Any, tmp_path: Path, tiny_backbone: ExportedBackbone
) -> None:
    model = write_model(tmp_path / "model", tiny_backbone, classes=("blue", "green", "red"))
    command = popen(model, free_port())
    assert come(_is_served)
    time.sleep(2)
    command.send_signal(signal.SIGINT)
    assert command.wait(60) == 0
    assert come(lambda: not _is_served())


def popen(model: Path, port: int) -> subprocess.Popen[str]:
    """The command."""
    asked = [sys.executable, "-m", "vizsla", "serve", str(model), "--port", str(port), "--executor", "ray"]
    return subprocess.Popen(asked, env=os.environ | {"COLUMNS": "300"}, stderr=subprocess.PIPE, text=True)


def start(model: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """The command, and the line in which it says where it serves."""
    command = popen(model, port)
    assert command.stderr is not None
    return command, next((line for line in command.stderr if "serving at" in line), "")


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
