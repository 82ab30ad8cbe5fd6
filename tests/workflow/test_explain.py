"""Explanations of a saved model, as a command and as a job, with words for what cannot be explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commandline import vizsla as command
from PIL import Image

from vizsla.evaluation.explanation.faithfulness import faithfulness
from vizsla.models.model import load
from vizsla.workflow.explain import ExplainRequest, explain_model
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest, FitResult

SPLITS = {
    "train": {"red": 8, "green": 8},
    "valid": {"red": 4, "green": 4},
    "test": {"red": 4, "green": 4},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Iterator[FitResult]:
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIZSLA_HOME", str(place / "runs"))
        patch.setenv("VIZSLA_TRACKING", "off")
        photos = write_photos(place / "photos", splits=SPLITS)
        yield fit(FitRequest(photos, "test_resnet", random_init=True, name="colours"))


def picture(trained: FitResult) -> Path:
    return trained.job.parents[1] / "photos" / "test" / "red" / "001.jpg"


def test_the_map_adds_up_to_the_logit_and_training_pictures_stand_beside(trained: FitResult, tmp_path: Path) -> None:
    said = command("explain", trained.job, picture(trained), "--output", tmp_path / "why", "--json")
    assert said.returncode == 0, said.stderr
    (explanation,) = json.loads(said.stdout)["explanations"]
    total = np.sum(explanation["class_activation_map"]) + explanation["bias"]
    assert total == pytest.approx(explanation["logit"], abs=1e-4)
    prediction = load(trained.model).predict(picture(trained))
    assert (explanation["label"], explanation["probability"]) == (prediction.label, prediction.probability)
    assert len(explanation["nearest"]) == 5
    assert all("/train/" in near["path"] or "/valid/" in near["path"] for near in explanation["nearest"])
    cosines = [near["cosine"] for near in explanation["nearest"]]
    assert cosines == sorted(cosines, reverse=True)
    assert set(explanation["faithfulness"]) >= {"deletion", "insertion", "random_deletion", "better_than_random"}
    page = (tmp_path / "why" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 7
    with Image.open(tmp_path / "why" / "maps" / "000-001.jpg") as overlay:
        assert overlay.size == (160, 160)


def test_a_training_picture_is_its_own_nearest(trained: FitResult) -> None:
    seen = picture(trained).parents[2] / "train" / "red" / "003.jpg"
    said = command("explain", trained.job, seen, "--nearest", 1, "--json")
    (near,) = json.loads(said.stdout)["explanations"][0]["nearest"]
    assert near["path"] == str(seen)
    assert near["cosine"] == pytest.approx(1, abs=1e-5)


def test_kernel_shap_leads_from_the_baseline_to_the_answer(trained: FitResult, tmp_path: Path) -> None:
    arguments = ["explain", trained.job, picture(trained), "--method", "kernel_shap", "--num-segments", 6]
    said = command(*arguments, "--num-samples", 80, "--output", tmp_path / "why", "--nearest", 0, "--json")
    assert said.returncode == 0, said.stderr
    (explanation,) = json.loads(said.stdout)["explanations"]
    assert explanation["answer"] == pytest.approx(explanation["probability"], abs=1e-6)
    assert explanation["segments"] <= 9
    assert sum(explanation["values"]) == pytest.approx(explanation["answer"] - explanation["baseline"], abs=1e-6)
    again = command(*arguments, "--num-samples", 80, "--nearest", 0, "--json")
    assert json.loads(again.stdout)["explanations"][0]["values"] == explanation["values"]


OWN = """
import io, json
import numpy as np
from PIL import Image
def model_fn(folder):
    return None
def input_fn(body, content_type):
    assert content_type == "application/x-image", content_type
    return np.asarray(Image.open(io.BytesIO(bytes(body))), float)
def predict_fn(pixels, model):
    left, right = np.hsplit(pixels[:, : pixels.shape[1] // 2 * 2].mean(axis=2), 2)
    return [[float(left.mean() / 255), float(right.mean() / 255)]]
def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""


def test_a_model_of_its_own_code_is_asked(tmp_path: Path) -> None:
    """One that scores how bright either half is: what makes the left one bright speaks for class 0."""
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text(OWN)
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[:, :60] = 250
    Image.fromarray(pixels).save(tmp_path / "half.png")
    options = ["--method", "kernel_shap", "--num-segments", 4, "--num-samples", 30, "--output", tmp_path / "why"]
    arguments = ["explain", tmp_path / "model", tmp_path / "half.png", "--json"]
    said = command(*arguments, *options, "--allow-code")
    assert said.returncode == 0, said.stderr
    (explanation,) = json.loads(said.stdout)["explanations"]
    assert (explanation["label"], explanation["nearest"]) == ("0", [])
    assert explanation["probability"] == pytest.approx(250 / 255, abs=0.01)
    assert sum(explanation["values"]) == pytest.approx(explanation["answer"] - explanation["baseline"], abs=1e-6)
    assert (tmp_path / "why" / "report.html").exists()
    refused = command(*arguments, *options)
    assert refused.returncode == 2
    assert "brings its own code, which is not run unless allowed" in refused.stderr
    assert "its maps cannot be seen" in command(*arguments, "--allow-code").stderr


def test_many_pictures_are_summed_up_by_class(trained: FitResult, tmp_path: Path) -> None:
    folder = trained.job.parents[1] / "photos" / "test"
    options = {"method": "kernel_shap", "num_segments": 6, "num_samples": 62, "nearest": 0}
    result = explain_model(ExplainRequest(str(trained.job), [str(folder)], str(tmp_path / "out"), **options))  # type: ignore[arg-type]
    summary = result.to_dict()["summary"]
    assert sum(one["pictures"] for one in summary) == len(result.explanations) > 2
    written = json.loads((tmp_path / "out" / "analysis.json").read_bytes())["explanations"]["kernel_shap"]
    assert set(written) == {one["label"] for one in summary}
    for one in summary:
        own = [e for e in result.explanations if e.label == one["label"]]
        sizes = np.mean([np.abs(e.values).sum() for e in own])
        assert sum(written[one["label"]]["global_shap_values"].values()) == pytest.approx(sizes)
        assert written[one["label"]]["expected_value"] == pytest.approx(np.mean([e.begins for e in own]))
        best = max(own, key=lambda e: max(e.values))
        if max(best.values) > 0:
            assert one["parts"][0]["image"] == best.image
            assert one["parts"][0]["value"] == pytest.approx(max(best.values), abs=1e-6)
        assert 0 <= one["border_share"] <= 1
    assert any(one["parts"] for one in summary)
    page = result.report.read_text()
    assert "The parts that spoke loudest for it" in page
    assert f"over {summary[0]['pictures']} picture" in page
    alone = explain_model(ExplainRequest(str(trained.job), [result.explanations[0].image], **options))  # type: ignore[arg-type]
    assert alone.to_dict()["summary"] == [], "of one picture there is nothing in common"


def test_another_class_can_be_explained(trained: FitResult) -> None:
    said = command("explain", trained.job, picture(trained), "--label", "green", "--nearest", 0, "--json")
    assert json.loads(said.stdout)["explanations"][0]["label"] == "green"


def test_a_map_of_where_the_model_looks_is_better_than_noise_and_its_opposite_is_worse() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:24, 8:24] = 255

    def probability(pictures: np.ndarray) -> np.ndarray:
        return pictures[:, 8:24, 8:24].mean(axis=(1, 2, 3)) / 255

    strength = np.zeros((8, 8))
    strength[1:3, 1:3] = 1
    right = faithfulness(pixels, strength, probability)
    assert right.better_than_random
    assert right.deletion < 0.2
    assert not faithfulness(pixels, -strength, probability).better_than_random


def test_it_is_a_job_that_can_be_resumed(trained: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(trained.job.parent))
    said = command(
        "explain", "colours", picture(trained), "--name", "why", "--nearest", 0, "--output", tmp_path / "out"
    )
    assert said.returncode == 0, said.stderr
    state = trained.job.parent / "why" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_bytes()) | {"status": "Stopped"}))
    before = json.loads((tmp_path / "out" / "explanations.json").read_bytes())
    (tmp_path / "out" / "explanations.json").unlink()
    assert command("jobs", "resume", "why").returncode == 0
    assert json.loads((tmp_path / "out" / "explanations.json").read_bytes()) == before


def error_of(*arguments: object) -> str:
    said = command("explain", *arguments)
    assert said.returncode in (1, 2)
    return said.stderr


def test_what_cannot_be_explained_is_said(trained: FitResult, tmp_path: Path) -> None:
    model, photo = trained.job, picture(trained)
    small = tmp_path / "baseline.png"
    Image.new("RGB", (33, 44)).save(small)
    words = error_of(model, photo, "--method", "kernel_shap", "--baseline", small)
    assert f"The baseline is of another size: 33 x 44, where {photo} is 96 x 72" in words
    assert "--baseline" in words
    other = tmp_path / "other.png"
    Image.new("RGB", (50, 60)).save(other)
    fits = tmp_path / "fits.png"
    Image.new("RGB", (96, 72)).save(fits)
    words = error_of(model, photo, other, "--method", "kernel_shap", "--baseline", fits)
    assert f"where {other} is 50 x 60" in words
    assert not list((tmp_path / "runs").glob("explain-*")), "it is refused before there is a job"
    assert "kernel_shap only" in error_of(model, photo, "--baseline", small)
    assert "no method 'lime'" in error_of(model, photo, "--method", "lime")
    assert "no class 'blue'" in error_of(model, photo, "--label", "blue")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0")
    words = error_of(model, photo, broken, "--nearest", 0)
    assert str(broken) in words
    assert not list((tmp_path / "runs").glob("*/output/failure"))


def test_a_model_without_a_feature_map_is_explained_by_segments_only(
    folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 8, "green": 8})
    model = fit(FitRequest(photos, "test_vit", random_init=True)).job
    one = photos / "red" / "001.jpg"
    words = error_of(model, one)
    assert "has no feature map" in words
    assert "kernel_shap" in words
    assert not list((tmp_path / "runs").glob("explain-*"))
    said = command("explain", model, one, "--method", "kernel_shap", "--num-segments", 4, "--num-samples", 20)
    assert said.returncode == 0, said.stderr
