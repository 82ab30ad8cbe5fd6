"""A real Ray cluster of several raylets, all of it on loopback: ``make test-ray`` runs these tests in a network
namespace that has nothing else, for Ray does not listen on 127.0.0.1 where there is another address."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.patience import come
from tests.serving.conftest import write_model
from vizsla.cluster import NAMESPACE
from vizsla.jobs.conformance.scripts import wait_for
from vizsla.models.export import ExportedBackbone
from vizsla.serving.offer import Offer
from vizsla.serving.ray_serve import Replicas, serve_on_ray
from vizsla.serving.server import ServeOptions
from vizsla.settings import settings

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
"""A node that is gone is noticed in two seconds, not in twenty."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if reason := _missing():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


def _missing() -> str | None:
    if importlib.util.find_spec("ray") is None:
        return "needs Ray: `make test-ray` runs it with an environment of its own"
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        return "needs a network namespace with nothing but loopback: `make test-ray` makes one"
    return None


class RayCluster:
    """The head, on which no job has room, and nodes that come and go."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder, self.client_port = folder, free_port()
        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": 100 << 20,
                "ray_client_server_port": self.client_port,
                "_system_config": QUICK,
            },
        )
        self.address: str = self.cluster.address

    def add(self, cpus: int, **resources: float) -> Any:
        """A raylet of so many CPUs."""
        return self.cluster.add_node(num_cpus=cpus, object_store_memory=100 << 20, resources=resources)

    def kill(self, node: Any) -> None:
        """End a raylet, and with it all that it runs, without a word."""
        self.cluster.remove_node(node, allow_graceful=False)

    @contextlib.contextmanager
    def apart(self, cpus: int, folder: Path, log: Path) -> Iterator[None]:
        """A node of so many CPUs, which no other has, that sees another folder in the place of ``folder``: as a host of
        its own would."""
        import ray

        def is_up() -> bool:
            return any(node["Resources"].get("CPU") == cpus for node in ray.nodes() if node["Alive"])

        folder.mkdir(parents=True, exist_ok=True)
        start = (
            f"mount -t tmpfs tmpfs {folder} && exec ray start --address={self.address} --num-cpus={cpus} --block "
            "--object-store-memory=80000000 --disable-usage-stats"
        )
        paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        asked = ["unshare", "--mount", "sh", "-c", start]
        with open(log, "wb") as file:
            node = subprocess.Popen(
                asked, stdout=file, stderr=file, env=os.environ | {"PATH": paths}, start_new_session=True
            )
        wait_for(is_up, 90)
        try:
            yield
        finally:
            os.killpg(node.pid, signal.SIGTERM)
            node.wait(20)
            wait_for(lambda: not is_up(), 90)

    @contextlib.contextmanager
    def reaping(self, nodes: list[Any]) -> Iterator[None]:
        """Take the exit codes of raylets that may die in the block: what they ran sees only then that they are gone,
        as these are this process's children."""
        over = threading.Event()

        def reap() -> None:
            while not over.wait(0.2):
                for node in nodes:
                    for info in node.all_processes["raylet"]:
                        info.process.poll()

        thread = threading.Thread(target=reap)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@pytest.fixture
def model(tmp_path: Path, tiny_backbone: ExportedBackbone) -> Path:
    return write_model(tmp_path / "model", tiny_backbone, classes=("blue", "green", "red"))


def options(model: Path, port: int) -> ServeOptions:
    """To serve it, without a line for each request."""
    offer = Offer.of([str(model)], None, settings().cache)
    return ServeOptions(shelf=offer.shelf, pinned=offer.pinned, port=port, log_requests=False)


@contextlib.contextmanager
def served(model: Path, replicas: Replicas) -> Iterator[tuple[str, threading.Event]]:
    """It is served in the block: the address, and what ends that."""
    port, started, over = free_port(), threading.Event(), threading.Event()
    asked = "ray", ([str(model)], None), options(model, port), replicas, lambda _: started.set(), over
    thread = threading.Thread(target=serve_on_ray, args=asked)
    thread.start()
    try:
        assert come(lambda: started.is_set() or not thread.is_alive(), 120)
        assert started.is_set()
        yield f"http://127.0.0.1:{port}", over
    finally:
        over.set()
        thread.join()


@pytest.fixture
def no_room(ray_cluster: RayCluster) -> Iterator[None]:
    """Work that takes the three cores of the nodes that are there from the start."""
    import ray

    @ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)  # perhaps first on a node whose death is not seen yet
    class Holder:
        def here(self) -> None:
            """Answers as soon as it has its core."""

    holders = [Holder.remote() for _ in range(3)]
    ray.get([holder.here.remote() for holder in holders])
    yield
    for holder in holders:
        ray.kill(holder)
    wait_for(lambda: ray.available_resources().get("CPU", 0) >= 3)


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A cluster with a node of two CPUs and one of one CPU; this process is connected to it."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ |= {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER", "AWS_REGION": "us-east-1"}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    made = RayCluster(tmp_path_factory.mktemp("ray"))
    with pytest.MonkeyPatch.context() as nodes:  # who shares the cache by a bucket alone, shares no folder
        nodes.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("nodes")))
        made.add(2)
        made.add(1)
    os.environ["RAY_ADDRESS"] = made.address
    ray.init(address=made.address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.cluster.shutdown()
    del os.environ["RAY_ADDRESS"]
