"""A saved model on other pictures: by name, without what it was trained on, with words for what does not fit."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commandline import vizsla as command
from PIL import Image

import vizsla
from vizsla.jobs import controller
from vizsla.workflow.evaluate import evaluate_model
from vizsla.workflow.evaluation_request import EvaluateRequest, EvaluateResult
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest, FitResult

SPLITS = {
    "train": {"red": 16, "green": 16, "blue": 16},
    "valid": {"red": 6, "green": 6, "blue": 6},
    "test": {"red": 8, "green": 8, "blue": 8},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Iterator[FitResult]:
    """A small model, its job and its pictures."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIZSLA_HOME", str(place / "runs"))
        patch.setenv("VIZSLA_TRACKING", "off")
        photos = write_photos(place / "photos", splits=SPLITS)
        yield fit(FitRequest(photos, "test_resnet", random_init=True, name="colours"))


def photos_of(result: FitResult) -> Path:
    return result.job.parents[1] / "photos"


def evaluation(trained: FitResult, data: Path, **options: object) -> EvaluateResult:
    return evaluate_model(EvaluateRequest(str(trained.job), str(data), **options))  # type: ignore[arg-type]


def test_the_test_split_gives_what_fit_measured(trained: FitResult) -> None:
    result = evaluation(trained, photos_of(trained))
    assert result.which == "test"
    assert result.evaluation.n == trained.evaluation.n == 24
    assert np.array_equal(result.evaluation.confusion, trained.evaluation.confusion)
    assert result.evaluation.loss == trained.evaluation.loss
    with open(result.job / "output" / "predictions.csv", newline="") as file:
        ours = {row["path"]: row for row in csv.DictReader(file)}
    assert {row["camera"] for row in ours.values()} == {"unknown"}, "a hole could not be a group of a bias analysis"
    with open(trained.job / "output" / "test-predictions.csv", newline="") as file:
        for row in csv.DictReader(file):
            assert {name: ours[row["path"]][name] for name in row} == row


def test_other_pictures_with_fewer_classes_and_a_damaged_one(
    trained: FitResult, folder_of_photos: Callable[..., Path]
) -> None:
    photos = folder_of_photos({"red": 5, "green": 4}, name="others")
    (photos / "red" / "000.jpg").write_bytes(b"\xff\xd8\xff no picture")
    result = evaluation(trained, photos)
    assert (result.which, result.evaluation.n) == ("all", 8)
    assert [score.support for score in result.evaluation.classes] == [0, 4, 4]
    assert [entry["path"] for entry in result.damaged] == ["red/000.jpg"]
    page = result.report.read_text()
    assert "of these data" in page
    assert "red/000.jpg" in page


def test_pictures_of_the_training_are_left_out_unless_a_split_is_named(
    trained: FitResult, folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 3, "green": 3}, name="mixed")
    for at, picture in enumerate(sorted((photos_of(trained) / "train" / "red").iterdir())[:4]):
        shutil.copy(picture, photos / "red" / f"seen{at}.jpg")
    result = evaluation(trained, photos)
    assert result.evaluation.n == 6
    assert any("4 of 10 pictures" in note for note in result.notes)
    assert evaluation(trained, photos, split="all").evaluation.n == 10
    only = tmp_path / "only"
    shutil.copytree(photos_of(trained) / "train", only)
    with pytest.raises(vizsla.DataError, match="trained on every one of these pictures"):
        evaluation(trained, only)
    assert evaluation(trained, only, split="all").evaluation.n == 48


def test_what_training_saw_is_what_lay_there_then(
    write_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos that came into the folder later were not seen, and those that have gone since were."""
    monkeypatch.setenv("VIZSLA_TRACKING", "off")
    photos = write_photos(tmp_path / "photos", splits=SPLITS)
    model = fit(FitRequest(photos, "test_resnet", random_init=True, name="early"))
    gone = sorted((photos / "train" / "red").iterdir())[0]
    new = {"pad": {"red": 90}, "train": {"red": 3, "green": 3, "blue": 3}}  # each picture has a number of its own
    later = write_photos(tmp_path / "later", splits=new)
    other = tmp_path / "other"
    for label in ("red", "green", "blue"):
        (other / label).mkdir(parents=True)
        for at, picture in enumerate(sorted((later / "train" / label).iterdir())):
            shutil.copy(picture, photos / "train" / label / f"later{at}.jpg")
            shutil.copy(picture, other / label / f"{at}.jpg")
    shutil.move(gone, other / "red" / "gone.jpg")
    result = evaluation(model, other)
    assert result.evaluation.n == 9
    assert any("1 of 10 pictures" in note for note in result.notes)
    counts = {one.split: sum(one.counts) for one in result.insights.balance}
    assert counts["train"] == 47


def test_pictures_that_were_trained_on_say_nothing_of_labels_and_of_more_pictures(trained: FitResult) -> None:
    seen = evaluation(trained, photos_of(trained), split="all")
    new = evaluation(trained, photos_of(trained))
    assert (seen.evaluation.n, new.evaluation.n) == (90, 24)
    assert any("saw 66 of these 90 pictures" in note for note in seen.notes)
    test = {path for path in seen.insights.measured.paths if path.startswith("test/")}
    assert {seen.insights.measured.paths[row] for row in seen.insights.suspects} <= test
    for name in ("learning_curve", "calibration"):
        assert seen.insights.to_dict()[name] == new.insights.to_dict()[name]


def test_models_are_compared_on_what_neither_has_seen(
    trained: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other model was trained on half of what this one is measured on."""
    monkeypatch.setenv("VIZSLA_TRACKING", "off")
    mixed = tmp_path / "mixed"
    shutil.copytree(photos_of(trained), mixed)
    for label in ("red", "green", "blue"):
        for picture in sorted((mixed / "test" / label).iterdir())[:4]:
            shutil.move(picture, mixed / "train" / label / f"of-test-{picture.name}")
    other = fit(FitRequest(mixed, "test_resnet", random_init=True, name="other"))
    result = evaluation(trained, photos_of(trained), against=str(other.job))
    assert result.insights.comparison is not None
    assert result.insights.comparison.to_dict()["pictures"] == 12
    assert any("on the 12 pictures that neither has seen" in note for note in result.notes)


def test_an_evaluation_is_a_job_that_can_be_resumed(trained: FitResult, tmp_path: Path) -> None:
    result = evaluation(trained, photos_of(trained), name="mine")
    job = controller.find("mine", tmp_path / "runs")
    assert (job.kind, job.state.status) == ("evaluate", "Completed")
    assert "evaluate" in command("jobs", "list").stdout
    shown = command("jobs", "show", "mine").stdout
    assert str(photos_of(trained)) in shown
    assert "test_accuracy" in shown
    state = json.loads((job.path / "state.json").read_bytes()) | {"status": "Stopped"}
    (job.path / "state.json").write_text(json.dumps(state))
    for leftover in ("report.html", "evaluation.json"):
        (result.job / "output" / leftover).unlink()
    again = command("jobs", "resume", "mine")
    assert again.returncode == 0, again.stderr + again.stdout
    assert (
        json.loads((result.job / "output" / "evaluation.json").read_bytes())["metrics"] == result.to_dict()["metrics"]
    )


def test_the_command_prints_one_object_and_what_to_type_next(trained: FitResult) -> None:
    said = command("evaluate", trained.archive, photos_of(trained), "--split", "valid", "--json")
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["pictures"] == "valid"
    assert document["metrics"]["n"] == 18
    assert "vizsla explain" in said.stderr


def test_a_model_is_known_by_its_jobs_name(trained: FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_HOME", str(trained.job.parent))
    said = command("evaluate", "colours", photos_of(trained), "--json")
    assert json.loads(said.stdout)["metrics"]["n"] == 24


def error_of(*arguments: object) -> str:
    said = command("evaluate", *arguments)
    assert said.returncode in (1, 2)
    return said.stderr


def test_what_does_not_fit_is_said_and_leaves_no_job(
    trained: FitResult, folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    unseen = folder_of_photos({"red": 3, "purple": 3}, name="unseen")
    words = error_of(trained.job, unseen)
    assert "Training had no picture of 'purple'" in words
    assert "--drop-class purple" in words
    assert command("evaluate", trained.job, unseen, "--drop-class", "purple").returncode == 0
    numbered = folder_of_photos({"0": 3, "1": 3}, name="numbered")
    assert "number their classes" in error_of(trained.job, numbered)
    assert "bring no valid split" in error_of(trained.job, unseen, "--drop-class", "purple", "--split", "valid")
    assert "no split 'tset'" in error_of(trained.job, unseen, "--split", "tset")
    assert "no model here" in error_of(tmp_path / "nothing", unseen)
    broken = tmp_path / "broken" / "red"
    broken.mkdir(parents=True)
    (broken / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert "No picture could be read" in error_of(trained.job, broken.parent)
    assert len(list((tmp_path / "runs").glob("evaluate-*"))) == 1


def test_shifted_ids_are_found_by_what_the_model_says(
    tmp_path: Path, folder_of_photos: Callable[..., Path], paint: Callable[..., Image.Image]
) -> None:
    photos = folder_of_photos({"0": 24, "1": 24, "2": 24}, name="ids")
    model = fit(FitRequest(photos, "test_resnet", random_init=True)).job
    shifted = tmp_path / "shifted"
    for label, colour in (("0", (40, 200, 60)), ("1", (50, 60, 220))):
        (shifted / label).mkdir(parents=True)
        for at in range(12):
            paint(1000 + at, colour=colour).save(shifted / label / f"{at}.jpg", quality=90)
    with pytest.raises(vizsla.DataError, match="shifted by one"):
        evaluate_model(EvaluateRequest(str(model), str(shifted)))


def test_the_whole_is_said_in_json_and_on_the_page(trained: FitResult) -> None:
    said = command("evaluate", trained.job, photos_of(trained), "--against", trained.archive, "--json")
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert document["comparison"]["other_better_on"] == document["comparison"]["other_worse_on"] == 0
    assert document["comparison"]["p"] == 1
    assert [balance["split"] for balance in document["class_balance"]] == ["train", "valid", "measured"]
    assert document["class_balance"][0] == {"split": "train", "counts": [16, 16, 16], "ratio": 1.0, "effective": 3.0}
    assert set(document["unlike_training"]) == {"share", "usual_share", "pictures"}
    assert document["calibration"]["temperature"] > 0
    assert document["learning_curve"]["pictures"][-1] == 48
    assert document["abstain"][0]["coverage"] == 1
    assert sum(row["pictures"] for row in document["reliability"]) == 24
    assert document["slices"] == []
    assert any("fewer than 60 pictures" in note for note in document["notes"])
    page = Path(document["report"]).read_text()
    for title in (
        "Where it is worse",
        "If it may stay silent",
        "Sizes of the classes",
        "What more pictures would give",
    ):
        assert title in page
    with open(Path(document["job"]) / "output" / "predictions.csv", newline="") as file:
        assert {"brightness", "sharpness", "camera", "cluster", "colour"} <= set(next(csv.DictReader(file)))


def test_a_calibrated_copy_gives_the_same_answers_with_other_probabilities(trained: FitResult) -> None:
    before = (trained.model / "model.json").read_bytes()
    result = evaluation(trained, photos_of(trained), store_temperature=True)
    assert result.calibrated is not None
    assert result.insights.calibration is not None
    again = evaluate_model(EvaluateRequest(str(result.job), str(photos_of(trained))))
    assert np.array_equal(again.evaluation.confusion, result.evaluation.confusion)
    assert again.evaluation.loss.value == pytest.approx(result.insights.calibration.loss_with, abs=1e-4)
    assert vizsla.load(result.calibrated).card.metrics["temperature"] == result.insights.calibration.temperature
    assert (trained.model / "model.json").read_bytes() == before


def test_without_the_training_pictures_it_says_so(trained: FitResult, tmp_path: Path) -> None:
    model = tmp_path / "model.tar.gz"
    shutil.copy(trained.archive, model)
    result = evaluate_model(EvaluateRequest(str(model), str(photos_of(trained))))
    assert any("the job that made the model (colours) is not there" in note for note in result.notes)
    assert result.insights.curve is None
    with pytest.raises(vizsla.DataError, match="fitted on the validation pictures") as caught:
        evaluate_model(EvaluateRequest(str(model), str(photos_of(trained)), store_temperature=True))
    assert "training='DATA'" in str(caught.value)
    found = evaluate_model(EvaluateRequest(str(model), str(photos_of(trained)), training=str(photos_of(trained))))
    assert found.insights.curve is not None


def test_bias_is_measured_on_an_evaluation(trained: FitResult, tmp_path: Path) -> None:
    table = evaluation(trained, photos_of(trained)).job / "output" / "predictions.csv"
    config = {
        "label": "label",
        "predicted_label": "predicted",
        "label_values_or_threshold": ["red"],
        "facet": [{"name_or_index": "brightness", "value_or_threshold": [100]}],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    said = command("bias", table, "--config", tmp_path / "config.json", "--json")
    assert said.returncode == 0, said.stderr
    (entry,) = json.loads(said.stdout)["analysis"]["post_training_bias_metrics"]["facets"]["brightness"]
    assert entry["rows"]["facet"] + entry["rows"]["others"] == 24
