"""Many models on Ray Serve: each is kept where it was asked for, and the command line does it all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
from tests.patience import come
from tests.serving.conftest import write_model
from vizsla.models.export import ExportedBackbone
from vizsla.models.model import load
from vizsla.serving.offer import Offer
from vizsla.serving.ray_serve import Replicas, deploy
from vizsla.serving.server import ServeOptions
from vizsla.settings import settings

NAMES = [f"m{seed}" for seed in range(4)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: ExportedBackbone) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for seed, name in enumerate(NAMES):
        write_model(folder / name, tiny_backbone, seed=seed, classes=("blue", "green", "red"))
    return folder


@pytest.fixture(scope="module")
def address(ray_cluster: Any, shelf: Path) -> Iterator[str]:
    """Two replicas that serve the folder."""
    node = ray_cluster.add(2)
    offer = Offer.of([], str(shelf), settings().cache)
    port = free_port()
    options = ServeOptions(shelf=offer.shelf, pinned=offer.pinned, port=port, log_requests=False)
    deploy(([], str(shelf)), options, Replicas.parse("2"))
    yield f"http://127.0.0.1:{port}"
    from ray import serve

    serve.shutdown()
    ray_cluster.kill(node)


def test_each_model_is_loaded_in_one_replica(address: str, shelf: Path, folder_of_photos: Callable[..., Path]) -> None:
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()

    def ask(name: str) -> httpx.Response:
        headers = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Target-Model": name}
        return httpx.post(address + "/invocations", content=picture, headers=headers, timeout=60)

    for name in NAMES:
        for _ in range(12):
            answer = ask(name)
            assert answer.status_code == 200, answer.text
            assert answer.json() == pytest.approx(load(shelf / name).probabilities(picture).tolist())
        assert httpx.get(f"{address}/models/{name}").status_code == 200, "asked where it is"
    listed = [frozenset(m["modelName"] for m in httpx.get(address + "/models").json()["models"]) for _ in range(40)]
    held = set(listed)
    assert sum(len(names) for names in held) == len(NAMES), f"each is loaded once: {held}"
    assert frozenset().union(*held) == set(NAMES)
    assert len(held) == 2, "both replicas have some"
    assert ask("nobody").status_code == 404


def test_the_command_serves_on_a_cluster_by_its_clients_address(
    ray_cluster: Any, shelf: Path, folder_of_photos: Callable[..., Path]
) -> None:
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    environment = os.environ | {"VIZSLA_TRACKING": "off"}
    del environment["RAY_ADDRESS"]
    for executor in ("ray", f"ray://127.0.0.1:{ray_cluster.client_port}"):
        port = free_port()
        asked = [*(sys.executable, "-m", "vizsla", "serve", str(shelf / "m0"), "--port", str(port))]
        asked += ["--executor", executor, "--replicas", "1"]
        own = environment | ({"RAY_ADDRESS": ray_cluster.address} if executor == "ray" else {})
        server = subprocess.Popen(asked, env=own, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        line = next((line for line in server.stderr if "serving at" in line), "")
        assert f"serving at http://127.0.0.1:{port}, with 1 replicas; Ctrl-C ends them" in line
        answer = httpx.post(
            f"http://127.0.0.1:{port}/invocations", content=picture, headers={"Content-Type": "image/jpeg"}, timeout=60
        )
        assert answer.json() == pytest.approx(load(shelf / "m0").probabilities(picture).tolist())
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
        assert come(lambda port=port: not _answers(port)), "its replicas are gone"


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ping", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
