"""Our application on Ray Serve: the contracts of the plain server, and another model without a failed request."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import options, served
from tests.conftest import free_port
from tests.serving.conftest import write_model
from vizsla.errors import JobError, UsageError
from vizsla.models.export import ExportedBackbone
from vizsla.models.model import load
from vizsla.serving.endpoint import Endpoint
from vizsla.serving.ray_serve import Replicas, deploy, serve_on_ray

CLASSES = ("blue", "green", "red")
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def served_models(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: ExportedBackbone) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / f"m{seed}" / "colours", tiny_backbone, seed=seed, classes=CLASSES) for seed in (0, 1)]


@pytest.fixture(scope="module")
def address(ray_cluster: Any, served_models: list[Path]) -> Iterator[str]:
    with served(served_models[0], Replicas.parse("1")) as (address, _):
        yield address
    from ray import serve

    serve.shutdown()


def test_the_contracts_are_those_of_the_plain_server(
    address: str, served_models: list[Path], folder_of_photos: Callable[..., Path]
) -> None:
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    with Endpoint(options(served_models[0], 0)) as plain:
        for path in ("/ping", "/models", "/nowhere"):
            theirs, ours = httpx.get(address + path), httpx.get(plain.url + path)
            assert theirs.status_code == ours.status_code, path
        for body, kind in ((picture, "image/jpeg"), (b"no picture", "image/jpeg"), (b"{", "application/json")):
            headers = {"Content-Type": kind}
            theirs, ours = (httpx.post(u + "/invocations", content=body, headers=headers) for u in (address, plain.url))
            assert theirs.status_code == ours.status_code, (theirs.text, ours.text)
            if ours.status_code == 200:
                assert theirs.content == ours.content
    probabilities = load(served_models[0]).probabilities(picture)
    assert httpx.post(address + "/invocations", content=picture, headers=JPEG).json() == pytest.approx(
        probabilities.tolist()
    )


def test_another_model_is_served_without_a_failed_request(
    address: str, served_models: list[Path], folder_of_photos: Callable[..., Path]
) -> None:
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    answers: Counter[tuple[int, bytes]] = Counter()
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not over.is_set():
                answer = client.post(address + "/invocations", content=picture, headers=JPEG)
                answers[answer.status_code, answer.content] += 1
                time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    port = int(address.rpartition(":")[2])
    deploy(([str(served_models[1])], None), options(served_models[1], port), Replicas.parse("1"))
    time.sleep(1)
    over.set()
    for thread in threads:
        thread.join()
    assert {status for status, _ in answers} == {200}
    assert len(answers) == 2, "the one model's answer, then the other's"
    last = httpx.post(address + "/invocations", content=picture, headers=JPEG).json()
    assert last == pytest.approx(load(served_models[1]).probabilities(picture).tolist())


def test_what_cannot_be_served_is_said(ray_cluster: Any, served_models: list[Path]) -> None:
    for text in ("0", "3..2", "many"):
        with pytest.raises(UsageError, match="is no number of replicas"):
            Replicas.parse(text)
    assert Replicas.parse("2..8") == Replicas(2, 8)
    asked = options(served_models[0], free_port())
    with pytest.raises(JobError, match="No node of the cluster has 99 CPUs for a replica"):
        serve_on_ray("ray", ([str(served_models[0])], None), asked, Replicas(1, 1, cpus=99))
