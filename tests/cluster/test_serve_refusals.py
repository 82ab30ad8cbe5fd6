"""What Ray Serve cannot serve, and what it says then."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import options
from tests.conftest import free_port
from vizsla.errors import JobError, ModelError
from vizsla.serving.ray_serve import Replicas, deploy, serve_on_ray

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("no_room")
def test_replicas_for_which_there_is_no_room(ray_cluster: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vizsla.serving.ray_serve._START_SECONDS", 3.0)
    asked = options(model, free_port())
    with pytest.raises(JobError, match="The replicas have not started for 3 s") as caught:
        serve_on_ray("ray", ([str(model)], None), asked, Replicas.parse("1"))
    assert caught.value.do == "let jobs that take the cores end, add a node, or ask for fewer replicas"
    from ray import serve

    assert not serve.status().applications


def test_a_model_that_a_node_does_not_see(ray_cluster: Any, model: Path, tmp_path: Path) -> None:
    asked = options(model, free_port())
    with pytest.raises(ModelError, match="does not see the model") as caught:
        serve_on_ray("ray", ([str(tmp_path / "nowhere")], None), asked, Replicas.parse("1"))
    assert caught.value.where == str(tmp_path / "nowhere")


def test_ray_serve_that_listens_elsewhere(ray_cluster: Any, model: Path) -> None:
    """Somebody's runs there: its place cannot be changed."""
    from ray import serve

    port = free_port()
    serve.start(http_options={"port": free_port()})
    try:
        with pytest.raises(
            JobError, match=rf"runs .* already, and does not listen at http://127\.0\.0\.1:{port}\."
        ) as caught:
            deploy(([str(model)], None), options(model, port), Replicas.parse("1"))
        assert "say the host and port at which it listens" in str(caught.value.do)
    finally:
        serve.shutdown()


def test_a_port_that_is_taken(ray_cluster: Any, model: Path) -> None:
    from ray import serve

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(JobError, match=rf"Ray Serve cannot listen at http://127\.0\.0\.1:{port}: ") as caught:
            deploy(([str(model)], None), options(model, port), Replicas.parse("1"))
    assert caught.value.do == "choose another port or host"
    assert not serve.status().proxies, "what had begun of it is ended"


def test_ray_serve_that_lets_others_in(ray_cluster: Any, model: Path) -> None:
    """Somebody's runs there, open to the network: without keys it is this machine alone that gets answers."""
    from ray import serve

    port = free_port()
    serve.start(http_options={"host": "0.0.0.0", "port": port})
    try:
        deploy(([str(model)], None), options(model, port), Replicas.parse("1"))
        assert httpx.get(f"http://127.0.0.1:{port}/ping", timeout=60).status_code == 200
        with _address("192.0.2.1"):
            transport = httpx.HTTPTransport(local_address="192.0.2.1")
            with httpx.Client(transport=transport) as client:
                answer = client.get(f"http://192.0.2.1:{port}/ping", headers={"Host": "localhost"}, timeout=60)
        assert answer.status_code == 403
        assert "answers its own machine alone, and no other (192.0.2.1)" in answer.text
    finally:
        serve.shutdown()


@contextlib.contextmanager
def _address(address: str) -> Iterator[None]:
    """Another machine's, as far as a server can see: this network namespace has it for a while."""
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"], check=True)
