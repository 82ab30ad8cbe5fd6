"""A fit that trains the backbone: the whole way to a saved model, as a document, and after an end."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.workflow.test_fit_checkpoint import resume
from tests.workflow.test_train import same_result
from vizsla.cli.hyperparameters import OPTIONS
from vizsla.errors import VizslaError
from vizsla.training import checkpoint
from vizsla.training.fine_tuning import schedule
from vizsla.training.fine_tuning.config import HYPERPARAMETERS, FineTuneConfig
from vizsla.training.fine_tuning.cost import Cost
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.schedule import Costs, LastCost
from vizsla.workflow.document import from_spec, to_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.observer import Silent
from vizsla.workflow.plan import plan
from vizsla.workflow.request import FitRequest, FitResult

Folder = Callable[..., Path]
LAST = FineTuneConfig("last", epochs=3, batch_size=8, views=2, lr=3e-3, seed=3)


def request(data: Path, **more: object) -> FitRequest:
    return replace(FitRequest(data, "test_resnet", random_init=True, size=32, head=LAST), **more)  # type: ignore[arg-type]


class EndsIt(Silent):
    """Ends the fit after a step, as a kill would."""

    where = ""

    def stage(self, name: str, total: int | None = None) -> None:
        self.where = name

    def progress(self, done: int, total: int) -> None:
        if (self.where, done) == ("epochs", 9):
            raise KeyboardInterrupt


def ended(asked: FitRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job of a fit that was ended after its ninth step; the eighth was kept."""
    monkeypatch.setattr(checkpoint, "_SECONDS", 0)
    monkeypatch.setattr(checkpoint, "_WRITES", 0)
    with pytest.raises(KeyboardInterrupt):
        fit(asked, EndsIt())
    assert asked.name is not None
    return folder / "runs" / asked.name


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.usefixtures("one_core")
def test_what_is_evaluated_is_what_is_saved(folder_of_photos: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gain, "kept", property(lambda gain: True))
    data, notes = folder_of_photos({"red": 24, "green": 24}), Notes()
    result = fit(request(data), notes)  # proves the model to the bit before it ends
    assert result.load().card.backbone.weights == "random (seed 3), untrained, then trained (depth last)"
    assert any(text.startswith("Frozen, the same backbone is right on ") for text in notes.texts)
    assert "All 3 epochs were used; epoch" in result.report.read_text("utf-8")
    assert FitResult.open(result.job).evaluation.to_dict() == result.evaluation.to_dict()
    metrics = (result.job / "metrics.jsonl").read_text()
    assert metrics.count('"valid_accuracy"') == 3


def test_a_training_of_the_backbone_is_watched_without_asking(folder_of_photos: Folder, tmp_path: Path) -> None:
    from vizsla.debugging import create_trial, modes

    data, notes = folder_of_photos({"red": 30, "green": 30}), Notes()
    with pytest.raises(VizslaError, match="diverged"):
        fit(request(data, head=replace(LAST, lr=1e6, clip=0.0), name="watched"), notes)
    job = tmp_path / "runs" / "watched"
    trial = create_trial(job)
    losses = trial.tensor("training_loss_output_0").values(modes.TRAIN)
    assert len(losses) >= 2
    assert trial.tensor_names(collection="gradients")
    findings = (job / "output" / "findings.jsonl").read_text()
    assert '"source": "debugger"' in findings
    assert any(text.startswith("error: ") for text in notes.texts), "a learning rate of a million is said"


def test_a_fit_that_ended_within_its_epochs_goes_on_to_the_same_bits(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of_photos({"red": 24, "green": 24})
    reference = fit(request(data)).job
    job = ended(request(data, name="mine"), tmp_path, monkeypatch)
    assert "Training goes on after step 8." in resume(job)
    same_result(job, reference)


def test_a_class_that_came_since_begins_training_anew(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of_photos({"red": 24, "green": 24})
    job = ended(request(data, name="mine"), tmp_path, monkeypatch)
    shutil.move(folder_of_photos({"blue": 30}, name="more") / "blue", data / "blue")
    said = resume(job)
    assert "The data are not those that this job began with (48 pictures then, 78 now)" in said
    assert "The checkpoint last.checkpoint is of other data, another configuration or other versions" in said
    assert FitResult.open(job).load().classes == ("blue", "green", "red")


def test_a_checkpoint_of_another_model_is_not_gone_on_with(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of_photos({"red": 24, "green": 24})
    full = replace(LAST, depth="full")
    wide = ended(request(data, name="wide", head=full, size=48), tmp_path, monkeypatch)
    job = ended(request(data, name="mine", head=full), tmp_path, monkeypatch)
    # Its tensors have the same names and shapes: nothing but what it says of itself tells them apart.
    shutil.copy(wide / "checkpoints" / "full.checkpoint", job / "checkpoints" / "full.checkpoint")
    said = resume(job)
    assert "The checkpoint full.checkpoint is of other data, another configuration or other versions" in said
    same_result(job, fit(request(data, head=full)).job)


def test_a_document_holds_all_of_it(tmp_path: Path) -> None:
    config = replace(LAST, cut="layer3.0", augmentation="strong", flip=False, clip=0.5, ema=0.9)
    again = from_spec(to_spec(request(tmp_path, head=config)))
    assert again.head == config


def test_the_command_has_an_option_for_each_hyperparameter() -> None:
    assert set(OPTIONS) == set(HYPERPARAMETERS) - {"seed"}


@pytest.mark.usefixtures("one_core")
def test_minutes_end_it(folder_of_photos: Folder) -> None:
    data, notes = folder_of_photos({"red": 24, "green": 24}), Notes()
    result = fit(FitRequest.of(data, {}, minutes=0.7, backbone="test_resnet", random_init=True), notes)
    assert np.isfinite(result.evaluation.loss.value)
    assert any("that are left: " in text or "no time left" in text for text in notes.texts)


def test_a_plan_of_some_minutes_leaves_time_for_what_is_not_training(
    folder_of_photos: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = Costs({"layer4.0": LastCost(Cost(0.02, 0.01), 0.005)}, Cost(0.05, 0.01))
    monkeypatch.setattr(schedule, "measure", lambda *asked, **more: costs)
    data = folder_of_photos({"red": 24, "green": 24})
    planned = plan(FitRequest.of(data, {}, minutes=0.5, backbone="test_resnet", random_init=True))
    assert "epochs at depth last" in " ".join(stage.what for stage in planned.stages)
    assert planned.seconds <= 30 - 12, "the last twelve are for exporting, saving and proving what was trained"
