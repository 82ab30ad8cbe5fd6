"""Training scripts in the habits of notebooks, run unmodified."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.jobs.conftest import metrics_of, run_to_end
from vizsla.debugging.store import Reader
from vizsla.jobs.events import Event, Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.spec_input import typed_script_spec
from vizsla.jobs.states import State

SCRIPTS = Path(__file__).parent / "scripts"
Folder = Callable[..., Path]


def run(
    executor: LocalExecutor, script: str, data: list[str], hyperparameters: str, metrics: list[str]
) -> tuple[Handle, State, list[Event]]:
    """Run one of the scripts to its end."""
    spec = typed_script_spec(script, SCRIPTS, data, [hyperparameters], metrics, minutes=2)
    handle = executor.submit(spec, script.removesuffix(".py"))
    state, events = run_to_end(executor, handle, 120)
    assert state.status == "Completed", (state.reason, (handle.path / "logs.txt").read_text()[-3000:])
    return handle, state, events


def archived(handle: Handle) -> list[str]:
    """What ``model.tar.gz`` holds."""
    with tarfile.open(handle.path / "output" / "model.tar.gz") as tar:
        return tar.getnames()


@pytest.fixture
def photos(folder_of_photos: Folder) -> Path:
    """Photos in train, valid and test."""
    return folder_of_photos(splits={name: {"red": 10, "green": 10} for name in ("train", "valid", "test")})


@pytest.mark.slow
def test_a_new_layer_on_resnet18_with_argparse_and_a_state_dict(executor: LocalExecutor, photos: Path) -> None:
    handle, _, events = run(
        executor,
        "hpo.py",
        [str(photos)],
        "lr=0.01,batch-size=8",
        ["average test loss=Testing Loss: ([0-9\\.]+)", "accuracy=Testing Accuracy: ([0-9\\.]+)"],
    )
    found = dict(metrics_of(events))
    assert found["average test loss"] > 0
    assert 0 <= found["accuracy"] <= 1
    assert archived(handle) == ["model.pth"]
    import torch

    state = torch.load(handle.path / "model" / "model.pth", weights_only=True)
    assert state["fc.weight"].shape == (2, 512)


def test_the_hook_in_every_place_and_three_channels(executor: LocalExecutor, photos: Path) -> None:
    handle, _, events = run(
        executor,
        "train_model.py",
        [f"{name}={photos / name}" for name in ("train", "valid", "test")],
        "epochs=2,lr=0.01",
        ["average loss=Average loss: ([0-9\\.]+)"],
    )
    found = metrics_of(events)
    assert len([value for name, value in found if name == "average loss"]) == 3
    steps = [value for name, value in found if name == "train_step_loss"]
    recorded = Reader(handle.path / "output" / "debug").new_rows()
    losses = [r for r in recorded if r.collection == "losses"]
    assert {r.name for r in losses} == {"CrossEntropyLoss_output_0"}
    assert {mode: len([r for r in losses if r.mode == mode]) for mode in ("TRAIN", "EVAL", "PREDICT")} == {
        "TRAIN": 4,
        "EVAL": 4,
        "PREDICT": 2,
    }
    assert np.allclose([r.mean for r in losses if r.mode == "TRAIN"], steps, rtol=1e-5)
    assert [r.mode_step for r in losses if r.mode == "EVAL"] == [0, 1, 2, 3]
    assert archived(handle) == ["model.pt", "scripted.pt"], "with the hook registered, the whole model can be saved"


@pytest.mark.slow
def test_truncated_images_workers_and_torchscript(executor: LocalExecutor, photos: Path) -> None:
    picture = next((photos / "train" / "red").iterdir())
    picture.write_bytes(picture.read_bytes()[:-200])
    handle, _, events = run(
        executor,
        "truncated.py",
        [f"dogs={photos / 'train'}"],
        "learning_rate=0.01,batch_size=4",
        ["train_loss=train_loss=(.*?);"],
    )
    assert len(metrics_of(events)) == 2
    import torch

    assert torch.jit.load(handle.path / "model" / "model.pt")(torch.zeros(1, 3, 24, 24)).shape == (1, 2)


def test_a_script_that_knows_only_opt_ml(executor: LocalExecutor, photos: Path, opt_ml: None) -> None:
    handle, _, events = run(
        executor,
        "walker.py",
        [f"train={photos / 'train'}", f"validation={photos / 'valid'}"],
        "lr=0.5",
        ["loss=Average loss: ([0-9\\.]+)"],
    )
    assert metrics_of(events) == [("mean width", 96.0), ("loss", 1.0)]
    assert "Pictures found: 40" in (handle.path / "logs.txt").read_text()
    assert (handle.path / "checkpoints" / "last.pt").exists()
    assert archived(handle) == ["sizes.pt"]


def test_a_functional_loss_a_module_beside_the_script_and_output_data(executor: LocalExecutor) -> None:
    handle, _, events = run(executor, "functional.py", [], "lr=0.1", [])
    assert [name for name, _ in metrics_of(events)] == ["train loss"] * 3
    assert (handle.path / "output" / "data" / "history.csv").read_text().count("\n") == 3
    names = {row.name for row in Reader(handle.path / "output" / "debug").new_rows() if row.chosen}
    assert names == {"loss_output_0", "cross_entropy_loss_output_0"}  # by hand, and as the hook saw it called
