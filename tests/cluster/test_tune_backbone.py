"""Trials that train the backbone, side by side on the nodes of a cluster: to the values that one machine comes to."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from vizsla.cluster import Node
from vizsla.tuning.cluster_fine_tuning import _shares

pytestmark = pytest.mark.slow


@pytest.fixture
def photos(folder_of_photos: Callable[..., Path]) -> Path:
    return folder_of_photos({"red": 24, "green": 24})


def tuned(photos: Path, name: str, *more: object, epochs: int = 3) -> dict[str, Any]:
    said = vizsla(
        *("tune", photos, "lr=0.0005,0.001,0.002,0.004", "--strategy", "grid", "--trials", 4, "--name", name),
        *("--backbone", "test_resnet", "--random-init", "--size", 48, "--epochs", epochs),
        *("--hp", "depth=last", "--hp", "views=2", "--hp", "batch-size=8", "--early-stopping", "off", "--json", *more),
    )
    assert said.returncode == 0, said.stderr
    answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return answer


def values(answer: dict[str, Any]) -> dict[float, float]:
    """The objective of each trial, by its learning rate."""
    return {
        trial["TunedHyperParameters"]["lr"]: trial["FinalObjectiveValue"]
        for trial in answer["tuning"]["TrainingJobSummaries"]
    }


def test_trials_run_side_by_side_to_the_values_of_one_machine(
    photos: Path, ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tuned(photos, "there", "--executor", "ray", epochs=12)
    monkeypatch.setenv("VIZSLA_THREADS", "1")  # as many as a trial has there
    here = tuned(photos, "here", epochs=12)
    assert values(there) == values(here)
    assert there["metrics"]["accuracy"] == here["metrics"]["accuracy"]
    times = sorted(
        (trial["TrainingStartTime"], trial["TrainingEndTime"]) for trial in there["tuning"]["TrainingJobSummaries"]
    )
    assert any(later[0] < earlier[1] for earlier, later in itertools.pairwise(times)), "side by side"
    assert not list((tmp_path / "runs" / "there" / "checkpoints").glob("trial-*.checkpoint"))


def test_a_node_that_dies_costs_no_trial(photos: Path, ray_cluster: Any, tmp_path: Path) -> None:
    node = ray_cluster.add(2)
    killer = threading.Timer(15, lambda: ray_cluster.kill(node))
    killer.start()
    there = tuned(photos, "dies", "--executor", "ray", epochs=60)
    killer.join()
    assert {trial["TrainingJobStatus"] for trial in there["tuning"]["TrainingJobSummaries"]} == {"Completed"}


@pytest.mark.parametrize(
    ("nodes", "shares"),
    [
        ([(2, 0), (1, 0)], (1, 0, 3)),
        ([(16, 0), (16, 0), (0, 0)], (16, 0, 2)),
        ([(64, 0), (1, 0)], (32, 0, 2)),
        ([(16, 4), (8, 1)], (4, 1, 5)),
        ([(1, 2)], (1, 1, 2)),
        ([(0, 0)], (1, 0, 0)),
    ],
)
def test_what_a_trial_is_given(nodes: list[tuple[int, int]], shares: tuple[int, int, int]) -> None:
    """Cores, GPUs, and how many there is room for."""
    assert _shares([Node("n", cpus, gpus, 10**9) for cpus, gpus in nodes]) == shares
