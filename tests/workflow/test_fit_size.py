"""The size of what a backbone sees of a picture, from the option to the saved model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vizsla
from tests.commandline import vizsla as command
from vizsla.errors import UsageError
from vizsla.models.backbone import load_backbone
from vizsla.models.weights import BackboneSpec
from vizsla.workflow.document import from_job, from_spec, to_job, to_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest

Folder = Callable[..., Path]


def test_it_reaches_the_saved_model_and_shares_no_feature(folder_of_photos: Folder, tmp_path: Path) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    options = ("--backbone", "test_resnet", "--random-init", "--json")
    cache = str(tmp_path / "cache")
    small, large = (command("fit", data, *options, *more, VIZSLA_CACHE=cache) for more in (("--size", 32), ()))
    cards = []
    for done in (small, large):
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["computed"] == 24
        cards.append(json.loads((Path(result["model"]) / "model.json").read_text())["preprocessing"])
    assert [(card["size"], card["resize"]) for card in cards] == [(32, 33), (160, 168)]
    picture = next(data.glob("red/*"))
    assert command("predict", json.loads(small.stdout.splitlines()[-1])["model"], picture).returncode == 0


def test_the_python_door_trains_the_whole_network_at_it(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    result = vizsla.fit(
        data, backbone="test_resnet", random_init=True, size=32, depth="full", epochs=1, batch_size=8, progress=False
    )
    assert result.load().card.preprocessing.size == 32


def test_a_document_holds_it(tmp_path: Path) -> None:
    request = FitRequest(tmp_path, "test_resnet", random_init=True, size=64)
    assert to_spec(request).hyper_parameters["size"] == "64"
    assert from_spec(to_spec(request)).backbone_specs() == request.backbone_specs()
    search = FitRequest.of(tmp_path, {}, tune=3, size=64)
    assert from_job(to_job(search)).size == 64


def test_each_size_has_a_key_of_its_own() -> None:
    keys = [BackboneSpec("test_resnet", random_init=True, size=size).key() for size in (None, 64, 96)]
    assert len(set(keys)) == 3


def test_real_weights_at_another_size(mobilenet_weights: Path) -> None:
    spec = replace(BackboneSpec.resolve(None, mobilenet_weights), size=96)
    loaded = load_backbone(spec)
    assert (loaded.preprocessing.size, loaded.preprocessing.resize) == (96, 109)
    assert spec.data_config() is not None
    assert np.isclose((spec.data_config() or {})["crop_pct"], 0.875)


def test_a_transformer_is_built_for_it() -> None:
    assert load_backbone(BackboneSpec("test_vit", random_init=True, size=64)).preprocessing.size == 64


@pytest.mark.parametrize("size", [0, -3, 15, 4096, 64.5, "large", True])
def test_sizes_that_no_picture_has(size: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        FitRequest(tmp_path, "test_resnet", size=size).backbone_specs()  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"size={size!r} cannot be used.\n  where: parameter size\n  allowed: a whole number of pixels, 16 to 2,048"
    )


def test_a_size_that_the_network_cannot_take(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    done = command("fit", data, "--backbone", "test_vit", "--random-init", "--size", 100)
    assert done.returncode == 2
    assert done.stderr.strip().endswith(
        "vizsla: test_vit cannot take pictures of 100 x 100 pixels: Input height (100) should be divisible by patch "
        "size (16).\n  where: --size\n  do: leave --size out for the size of its weights, or name another"
    )


def test_a_script_has_none(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("print(1)")
    done = command("tune", tmp_path, "--script", script, "--size", 64, "lr=1..2", "--metric", "a=(.)", "--minimize")
    assert done.returncode == 2
    assert "--size would have no effect here" in done.stderr
    with pytest.raises(UsageError, match="size would have no effect in a search with a script"):
        vizsla.tune(tmp_path, {"lr": "1..2"}, script=script, size=64)


def test_the_plan_is_made_at_it(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 12, "green": 12})
    options = ("--backbone", "test_vit", "--random-init", "--size", 100, "--dry-run")
    assert "cannot take pictures of 100 x 100" in command("fit", data, *options).stderr


def test_the_fit_itself_refuses_before_there_is_a_job(folder_of_photos: Folder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="size=8"):
        fit(FitRequest(folder_of_photos({"red": 12, "green": 12}), "test_resnet", random_init=True, size=8))
    assert not list((tmp_path / "runs").glob("train-*"))
