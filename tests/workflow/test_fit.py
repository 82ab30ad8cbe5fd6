"""The main job, end to end: on small folders with everything that goes wrong, and on real photos."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vizsla
from vizsla.errors import BudgetError, DataError, JobError, StorageError, UsageError, VizslaError
from vizsla.models import artifact
from vizsla.settings import settings
from vizsla.training.config import StepConfig
from vizsla.workflow.fit import FitRequest, FitResult, fit
from vizsla.workflow.plan import plan

Folder = Callable[..., Path]
SPLITS = {"train": {"red": 12, "green": 12}, "valid": {"red": 4, "green": 4}, "test": {"red": 6, "green": 6}}


def request(data: Path, **options: Any) -> FitRequest:
    return FitRequest(data, "test_resnet", random_init=True, **options)


def error_of(data: Path, kind: type[VizslaError] = DataError, **options: Any) -> VizslaError:
    with pytest.raises(kind) as caught:
        fit(request(data, **options))
    return caught.value


@pytest.fixture
def flowers_result(flowers: Path, mobilenet_weights: Path) -> FitResult:
    return fit(FitRequest(flowers, "mobilenetv2_100", mobilenet_weights))


@pytest.fixture
def heard() -> Any:
    class Heard:
        def __init__(self) -> None:
            self.notes: list[str] = []
            self.stages: list[str] = []

        def stage(self, name: str, total: int | None = None) -> None:
            self.stages.append(name)

        def progress(self, done: int, total: int) -> None:
            assert 0 <= done <= total

        def note(self, text: str) -> None:
            self.notes.append(text)

    return Heard()


def test_flowers_reach_the_accuracy_and_the_model_answers_what_was_measured(
    flowers_result: FitResult, flowers: Path
) -> None:
    result = flowers_result
    accuracy = result.evaluation.accuracy
    assert accuracy.value >= 0.88
    assert accuracy.low < accuracy.value < accuracy.high
    assert result.damaged == ()
    model = vizsla.load(result.model)
    with open(result.job / "output" / "test-predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result.evaluation.n == len(list((flowers / "test").rglob("*.jpg")))
    for row in rows[::40]:
        said = model.predict(flowers / row["path"])
        assert said.label == row["predicted"]
        assert f"{said.probability:.6f}" == row["probability"]
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert accuracy.value == pytest.approx(right / len(rows))


def test_the_same_seed_gives_the_same_head_to_the_bit(folder_of_photos: Folder) -> None:
    data = folder_of_photos()
    one, same, other = (artifact.load(fit(request(data, head=StepConfig(seed=seed))).model).head for seed in (1, 1, 2))
    assert one.weight.tobytes() == same.weight.tobytes()
    assert one.bias.tobytes() == same.bias.tobytes()
    assert one.weight.tobytes() != other.weight.tobytes()


def test_the_job_directory_holds_everything(folder_of_photos: Folder, heard: Any) -> None:
    result = fit(request(folder_of_photos(splits=SPLITS)), heard)
    job = result.job
    assert json.loads((job / "state.json").read_text())["status"] == "Completed"
    assert (job / "output" / "report.html").is_file()
    assert (job / "output" / "damaged.jsonl").read_text() == ""
    names = [json.loads(line)["name"] for line in (job / "metrics.jsonl").read_text().splitlines()]
    assert {"train_loss", "valid_loss", "valid_accuracy", "test_accuracy"} <= set(names)
    assert heard.stages == ["dataset", "scan", "backbone", "features", "head", "evaluation", "model", "report"]
    assert list(result.seconds) == heard.stages
    card = json.loads((job / "model" / "model.json").read_text())
    assert card["provenance"]["job"] == job.name
    assert card["metrics"]["accuracy"] == result.evaluation.accuracy.value
    assert np.array_equal(artifact.load(result.archive).head.weight, artifact.load(result.model).head.weight)


def test_names_with_spaces_and_letters_of_the_world(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"Märzen becher": 14, "日本 スピッツ": 14, "o'hara & <q>": 14}, name="mes fleurs – été")
    result = fit(request(data))
    assert set(vizsla.load(result.model).classes) == {"Märzen becher", "日本 スピッツ", "o'hara & <q>"}
    page = result.report.read_text("utf-8")
    assert "日本 スピッツ" in page
    assert "&lt;q&gt;" in page
    assert "<q>" not in page


def test_damaged_files_are_listed_counted_and_never_replaced(folder_of_photos: Folder) -> None:
    data = folder_of_photos(splits={"train": {"red": 20, "green": 20}, **{s: SPLITS[s] for s in ("valid", "test")}})
    (data / "train/red/000.jpg").write_bytes((data / "train/red/000.jpg").read_bytes()[:400])
    (data / "train/green/001.jpg").write_text("this is text")
    (data / "test/green/002.jpg").unlink()
    (data / "test/green/002.jpg").symlink_to(data / "nowhere.jpg")  # unreadable, for root as well
    result = fit(request(data))
    found = {entry["path"]: (entry["kind"], entry["split"], entry["label"]) for entry in result.damaged}
    assert found == {
        "train/red/000.jpg": ("truncated", "train", "red"),
        "train/green/001.jpg": ("not-an-image", "train", "green"),
        "test/green/002.jpg": ("unreadable", "test", "green"),
    }
    lines = (result.job / "output" / "damaged.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.damaged)
    assert result.evaluation.n == 11
    assert any("Damaged pictures, left out: 3" in warning for warning in result.warnings)
    page = result.report.read_text("utf-8")
    for path in found:
        assert path in page


def test_a_bomb_in_the_folder_is_one_damaged_picture(folder_of_photos: Folder, png_bomb: bytes) -> None:
    data = folder_of_photos()
    (data / "red" / "bomb.png").write_bytes(png_bomb)
    result = fit(request(data))
    assert [(e["path"], e["kind"]) for e in result.damaged] == [("red/bomb.png", "too-many-pixels")]


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    error = error_of(tmp_path)
    assert error.what == ("There is no picture in this folder. Passed over, as they are no pictures: 1 file (1 .txt).")
    assert error.where == str(tmp_path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert error_of(tmp_path / "none").what == "There is no such folder."


def test_one_class_only(folder_of_photos: Folder) -> None:
    error = error_of(folder_of_photos({"red": 20}))
    assert "one class" in error.what.lower()
    assert "red" in str(error)


def test_a_class_without_a_training_picture(folder_of_photos: Folder) -> None:
    splits = {**SPLITS, "train": {"red": 12}}
    error = error_of(folder_of_photos(splits=splits))
    assert "green" in str(error)
    assert "train" in str(error)


def test_a_class_without_a_test_picture_is_told_and_its_numbers_are_absent(folder_of_photos: Folder) -> None:
    splits = {"train": {"red": 12, "green": 12, "blue": 12}, "valid": SPLITS["valid"], "test": SPLITS["test"]}
    result = fit(request(folder_of_photos(splits=splits)))
    assert any("blue" in warning and "test" in warning for warning in result.warnings)
    entry = next(c for c in result.evaluation.to_dict()["classes"] if c["name"] == "blue")
    assert entry["support"] == 0
    assert entry["recall"] is entry["recall_interval"] is None


def test_all_pictures_of_a_class_damaged(folder_of_photos: Folder) -> None:
    data = folder_of_photos(splits=SPLITS)
    for path in (data / "train" / "red").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    error = error_of(data)
    assert "red" in error.what
    assert "No training picture for 'red'. Pictures of it that cannot be read: 12, such as" in error.what
    assert "`vizsla check` lists them" in str(error.do)
    assert "drop_classes=('red',)" in str(error.do)
    assert not list(settings().home.glob("train-*"))  # what cannot be trained on is no job


def test_too_few_minutes_keep_what_was_computed(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 150, "green": 150})
    error = error_of(data, BudgetError, minutes=0.0001)
    assert "0.0001 minutes are too short" in error.what
    assert "the next run goes on from them" in str(error.do)
    job = next(settings().home.glob("train-*"))
    assert json.loads((job / "state.json").read_text())["status"] == "Failed"
    assert (job / "output" / "failure").read_text().startswith("0.0001 minutes")


def test_minutes_must_leave_time(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="minutes=0 leaves no time"):
        request(tmp_path, minutes=0)


def test_a_job_name_that_exists(folder_of_photos: Folder) -> None:
    data = folder_of_photos()
    fit(request(data, name="mine"))
    error = error_of(data, JobError, name="mine")
    assert "There is a job named 'mine' already" in error.what


def test_a_full_disk_loses_nothing_finished(folder_of_photos: Folder, small_disk: Path, monkeypatch: Any) -> None:
    data = folder_of_photos()
    fit(request(data))  # features are in the cache, on another disk
    monkeypatch.setenv("VIZSLA_HOME", str(small_disk))
    (small_disk / "filler").write_bytes(b"x" * 400_000)
    error = error_of(data, StorageError)
    assert "The disk is full" in error.what
    assert not list(small_disk.rglob("model/model.json"))
    (small_disk / "filler").unlink()
    monkeypatch.delenv("VIZSLA_HOME")
    assert fit(request(data)).computed == 0


def test_a_loss_that_is_no_number_says_what_to_do(folder_of_photos: Folder) -> None:
    head = StepConfig(optimizer="sgd", lr=1e39, momentum=0)
    error = error_of(folder_of_photos(), VizslaError, head=head)
    assert "Training diverged" in error.what
    assert error.do == "lower lr"


def test_a_plan_makes_nothing_and_foretells(folder_of_photos: Folder, tmp_path: Path) -> None:
    data = folder_of_photos(splits=SPLITS)
    cold = plan(FitRequest(data, "test_efficientnet", random_init=True, head=StepConfig(seed=5)))
    assert not (tmp_path / "runs").exists()
    assert (cold.images, cold.cached_share) == (44, 0.0)
    assert cold.classes == ("green", "red")
    assert cold.images_per_second > 0
    fit(request(data))
    warm = plan(request(data))
    assert warm.cached_share == 1.0
    cold_backbone, warm_backbone = (next(s for s in p.stages if s.name == "backbone") for p in (cold, warm))
    assert warm_backbone.seconds < cold_backbone.seconds
    assert set(warm.to_dict()) >= {"images", "seconds", "expected_seconds", "images_per_second", "cached_share"}


def test_killed_in_the_middle_the_next_run_goes_on(folder_of_photos: Folder, tiny_backbone: Any) -> None:
    data = folder_of_photos({"red": 400, "green": 400})
    code = (
        "import sys; from pathlib import Path; from vizsla.workflow.fit import FitRequest, fit\n"
        "import vizsla.training.features as f; f._SHARD_PICTURES = 32\n"
        "class O:\n"
        "    def stage(self, name, total=None): pass\n"
        "    def note(self, text): pass\n"
        "    def progress(self, done, total):\n"
        "        if done >= 200: print('now', flush=True)\n"
        "fit(FitRequest(Path(sys.argv[1]), 'test_resnet', random_init=True), O())"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(data)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.kill()
    assert process.wait() == -9
    process.stdout.close()
    result = fit(request(data))
    assert 0 < result.computed <= 800 - 160
    assert result.evaluation.n == 120


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="No data set is named"):
        vizsla.fit("", random_init=True)


def test_the_report_counts_the_pictures_that_were_used(folder_of_photos: Folder) -> None:
    data = folder_of_photos(splits=SPLITS)
    for path in sorted((data / "train" / "red").iterdir())[:5]:
        path.write_bytes(path.read_bytes()[:200])
    page = fit(request(data)).report.read_text("utf-8")
    assert '<tr><td>red</td><td class="n">7</td><td class="n">4</td><td class="n">6</td>' in page


def test_minutes_are_kept_and_told(folder_of_photos: Folder) -> None:
    data = folder_of_photos()
    fit(request(data))
    result = fit(request(data, head=StepConfig(epochs=10**6, patience=10**6), minutes=0.12))
    assert "Training was stopped by minutes: the time was over." in result.warnings
    assert "by minutes: the time was over; epoch" in result.report.read_text("utf-8")


def test_a_head_that_learnt_nothing_is_told(folder_of_photos: Folder) -> None:
    data = folder_of_photos({"red": 40, "green": 40})
    for path in sorted((data / "red").iterdir())[::2]:  # half of each class is in the other's folder
        other = data / "green" / path.name
        content = path.read_bytes(), other.read_bytes()
        other.write_bytes(content[0])
        path.write_bytes(content[1])
    result = fit(request(data, head=StepConfig(optimizer="sgd", lr=1e6, momentum=0)))
    assert any("better than no model: always answering" in warning for warning in result.warnings)
