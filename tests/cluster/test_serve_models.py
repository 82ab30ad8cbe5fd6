"""Many models on Ray Serve: each is kept where it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import free_port
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
        assert ask(name).status_code == 200
        time.sleep(1)  # until Ray's router is told where it is
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
