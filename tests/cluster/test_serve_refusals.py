"""What Ray Serve cannot serve, and what it says then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.serving.conftest import write_model
from vizsla.errors import JobError, ModelError, UsageError
from vizsla.models.export import ExportedBackbone
from vizsla.serving.offer import Offer
from vizsla.serving.ray_serve import Replicas, deploy, serve_on_ray
from vizsla.serving.server import ServeOptions
from vizsla.settings import settings

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path, tiny_backbone: ExportedBackbone) -> Path:
    return write_model(tmp_path / "model", tiny_backbone, classes=("blue", "green", "red"))


def options(model: Path, port: int) -> ServeOptions:
    offer = Offer.of([str(model)], None, settings().cache)
    return ServeOptions(shelf=offer.shelf, pinned=offer.pinned, port=port, log_requests=False)


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


def test_ray_serve_that_lets_others_in(ray_cluster: Any, model: Path) -> None:
    """Somebody's runs there, open to the network: this command would ask no keys."""
    from ray import serve

    serve.start(http_options={"host": "0.0.0.0", "port": free_port()})
    try:
        with pytest.raises(UsageError, match=r"listens on 0\.0\.0\.0, where others can ask, too") as caught:
            deploy(([str(model)], None), options(model, free_port()), Replicas.parse("1"))
        assert caught.value.do == "say host='0.0.0.0': that asks for keys"
    finally:
        serve.shutdown()
