"""Our application on Ray Serve when something ends in the middle: a node of it, or an update."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import options, served
from tests.patience import come
from vizsla.errors import ModelError
from vizsla.serving.ray_serve import Replicas, _is_served, serve_on_ray

pytestmark = pytest.mark.slow
CLIENTS = 4


def test_a_node_that_dies_takes_only_what_it_was_answering(
    ray_cluster: Any, model: Path, folder_of_photos: Callable[..., Path]
) -> None:
    """Two replicas of two cores are on two nodes, of which one dies, with its proxy; nothing is asked twice."""
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    node = ray_cluster.add(2)
    answers: Counter[int] = Counter()
    over = threading.Event()

    def ask(address: str) -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                headers = {"Content-Type": "image/jpeg"}
                try:
                    status = client.post(f"{address}/invocations", content=picture, headers=headers).status_code
                except httpx.TransportError:  # a proxy of the node that died: all nodes have one address here
                    status = 0
                answers[status] += 1
                time.sleep(0.02)

    with served(model, Replicas(2, 2, cpus=2)) as (address, _):
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        assert come(lambda: answers[200] > 50)
        ray_cluster.kill(node)
        before = answers[200]
        assert come(lambda: answers[200] > before + 200)
        over.set()
        for thread in threads:
            thread.join()
    assert sum(count for status, count in answers.items() if status != 200) <= CLIENTS, answers


def test_an_update_that_fails_leaves_what_is_served_to_who_began_it(
    ray_cluster: Any, model: Path, tmp_path: Path, folder_of_photos: Callable[..., Path]
) -> None:
    picture = (folder_of_photos({"red": 1}) / "red" / "000.jpg").read_bytes()
    with served(model, Replicas()) as (address, over):
        asked = options(model, int(address.rpartition(":")[2]))
        with pytest.raises(ModelError, match="does not see the model"):
            serve_on_ray("ray", ([str(tmp_path / "nowhere")], None), asked, Replicas())
        headers = {"Content-Type": "image/jpeg"}
        assert httpx.post(f"{address}/invocations", content=picture, headers=headers, timeout=60).status_code == 200
        over.set()
        assert come(lambda: not _is_served())
