"""A backbone that trains on two nodes of a cluster: the steps of one process, also when a node dies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla

from vizsla.models.backbone import load_backbone
from vizsla.models.weights import BackboneSpec

EXACT = ("--precision", "float32")
EPOCHS = 40
"""By SGD: Adam divides what is next to nothing by as little, so that the last bits of a sum become steps."""


@pytest.fixture
def photos(folder_of_photos: Callable[..., Path]) -> Path:
    return folder_of_photos({"red": 40, "green": 40})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A tiny backbone's own weights as a file, as somebody's trained ones would be."""
    from safetensors.torch import save_file

    path = tmp_path / "test_resnet.safetensors"
    save_file(load_backbone(BackboneSpec.resolve("test_resnet", random_init=True)).module.state_dict(), path)
    return path


def losses(job: Path) -> list[float]:
    """Of each epoch: in training, then on the validation pictures."""
    lines = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
    return [line["value"] for name in ("train_loss", "valid_loss") for line in lines if line["name"] == name]


def fitted(photos: Path, weights: Path, name: str, *more: object) -> Any:
    asked = ["fit", photos, "--backbone", "test_resnet", "--weights", weights, "--name", name, "--depth", "full"]
    return vizsla(*asked, "--epochs", EPOCHS, "--optimizer", "sgd", "--lr", "0.001", *EXACT, *more)


def test_two_nodes_make_the_steps_of_one_process(photos: Path, weights: Path, ray_cluster: Any, tmp_path: Path) -> None:
    for name, more in (("one", ()), ("two", ("--processes", "2", "--executor", "ray"))):
        done = fitted(photos, weights, name, *more)
        assert done.returncode == 0, done.stderr
    one, two = (losses(tmp_path / "runs" / name) for name in ("one", "two"))
    assert len(one) == 2 * EPOCHS
    assert np.allclose(one, two, rtol=0, atol=1e-4)
    assert not (tmp_path / "runs" / "two" / "checkpoints" / "ray-train").exists()


def test_after_the_death_of_a_node_it_goes_on_from_its_checkpoint(
    photos: Path, weights: Path, ray_cluster: Any, tmp_path: Path
) -> None:
    node = ray_cluster.add(2)
    job = tmp_path / "runs" / "dies"

    def kill() -> None:
        while not (job / "metrics.jsonl").exists() or len(losses(job)) < 10:
            time.sleep(0.05)
        ray_cluster.kill(node)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    done = fitted(photos, weights, "dies", "--processes", "3", "--executor", "ray")
    assert done.returncode == 0, done.stderr
    killer.join()
    assert "Training goes on from its checkpoint." in (job / "logs.txt").read_text()
    reference = fitted(photos, weights, "alone")
    assert reference.returncode == 0, reference.stderr
    assert np.allclose(losses(job), losses(tmp_path / "runs" / "alone"), rtol=0, atol=1e-4)


def test_more_processes_than_the_cluster_has_cores(photos: Path, weights: Path, ray_cluster: Any) -> None:
    done = fitted(photos, weights, "many", "--processes", "30", "--executor", "ray")
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "30 processes cannot train together here: the cluster has no GPU and 3 cores." in said
    assert "where: --processes" in said
    assert "allowed: 1 to 3" in said
