"""Hyperparameters under one name: what they train, what they search, and what comes before them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import vizsla
from tests.commandline import vizsla as command
from vizsla.errors import UsageError
from vizsla.training.config import StepConfig
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.tuning.head_space import check_space
from vizsla.tuning.presets import PRESETS, find_preset
from vizsla.tuning.space import Space
from vizsla.workflow.document import from_spec, to_spec
from vizsla.workflow.request import FitRequest

Folder = Callable[..., Path]
BACKBONE = ("--backbone", "test_resnet", "--random-init")


@pytest.mark.parametrize("name", PRESETS)
def test_each_trains_a_head_in_all_its_epochs_and_searches_what_can_be_searched(name: str, tmp_path: Path) -> None:
    head = FitRequest.of(tmp_path, {}, preset=name).head
    assert isinstance(head, StepConfig)
    assert (head.epochs, head.patience, head.weight_decay) == (5, None, 0.0)
    request = FitRequest.of(tmp_path, {}, tune=3, preset=name)
    assert request.tune is not None
    assert request.tune.space is not None
    assert set(request.tune.space.parameters) == set(PRESETS[name].ranges)
    assert not isinstance(request.head, FineTuneConfig)
    check_space(request.head, request.tune.space)


def test_what_is_given_comes_first(tmp_path: Path) -> None:
    head = FitRequest.of(tmp_path, {"lr": 0.5}, "epochs=20", preset="last-layer-sgd").head
    assert isinstance(head, StepConfig)
    assert (head.optimizer, head.lr, head.epochs, head.momentum) == ("sgd", 0.5, 20, 0.9)
    whole = FitRequest.of(tmp_path, {"depth": "full"}, preset="last-layer-adam").head
    assert isinstance(whole, FineTuneConfig)
    assert (whole.depth, whole.optimizer, whole.batch_size, whole.patience) == ("full", "adam", 32, None)


def test_in_a_search_what_is_given_stays_and_typed_ranges_come_in_place_of_its_own(tmp_path: Path) -> None:
    fixed = FitRequest.of(tmp_path, {"lr": 0.5}, tune=3, preset="last-layer-sgd").tune
    assert fixed is not None
    assert fixed.space is not None
    assert list(fixed.space.parameters) == ["batch_size", "momentum"]
    assert fixed.space.static["lr"] == 0.5
    typed = FitRequest.of(
        tmp_path,
        {},
        tune=vizsla.SearchRequest(space=Space.of({"learning_rate": "0.1..0.2"})),
        preset="last-layer-sgd",
    ).tune
    assert typed is not None
    assert typed.space is not None
    assert list(typed.space.parameters) == ["learning_rate"]
    assert typed.space.static["batch_size"] == 64
    assert "lr" not in typed.space.static


def test_a_document_holds_it(tmp_path: Path) -> None:
    request = FitRequest.of(tmp_path, {"lr": 0.5}, preset="last-layer-sgd")
    again = from_spec(to_spec(request))
    assert (again.preset, again.head) == ("last-layer-sgd", request.head)


def test_each_epoch_is_printed_as_training_scripts_print_it(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    done = command("fit", data, *BACKBONE, "--preset", "last-layer-adam", "--epochs", 2, "--json")
    assert done.returncode == 0, done.stderr
    number = r"\d[-\d.e]*"
    block = rf"Epoch \d/2\nTraining Loss: ({number})\nValidation Loss: ({number})\nAccuracy: ({number})%\n"
    printed = [[float(value) for value in values] for values in re.findall(block, done.stderr)]
    metrics: dict[str, list[float]] = {}
    job = Path(json.loads(done.stdout.splitlines()[-1])["job"])
    for line in (job / "metrics.jsonl").read_text().splitlines():
        metric = json.loads(line)
        metrics.setdefault(metric["name"], []).append(metric["value"])
    assert [values[0] for values in printed] == metrics["train_loss"]
    assert [values[1] for values in printed] == metrics["valid_loss"]
    assert [values[2] for values in printed] == pytest.approx([100 * value for value in metrics["valid_accuracy"]])
    assert "Z Epoch 2/2\n" in (job / "logs.txt").read_text()


def test_the_command_searches_it(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    options = (*BACKBONE, "--preset", "last-layer-sgd", "--trials", 2, "--finalists", 0, "--json")
    done = command("tune", data, "epochs=2", *options)
    assert done.returncode == 0, done.stderr
    space = json.loads(done.stdout.splitlines()[-1])["tuning"]["ParameterRanges"]
    assert space["Order"] == ["lr", "batch_size", "momentum"]
    assert space["StaticHyperParameters"].items() >= {"epochs": 2, "optimizer": "sgd", "weight_decay": 0.0}.items()


def test_one_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_preset("resnet")
    assert str(caught.value) == (
        "There is no preset 'resnet'.\n  where: parameter preset\n  allowed: last-layer-sgd or last-layer-adam"
    )
    assert "where: --preset" in command("fit", tmp_path, "--preset", "resnet").stderr
