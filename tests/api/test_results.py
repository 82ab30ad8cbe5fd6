"""What the verbs of ``import vizsla`` give back: shown, opened again, as tables."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vizsla

TINY: dict[str, Any] = {"backbone": "test_resnet", "random_init": True}


@pytest.fixture
def photos(folder_of_photos: Callable[..., Path]) -> Path:
    return folder_of_photos({"red": 30, "green": 30, "<b>blue": 30})


@pytest.fixture
def result(photos: Path) -> vizsla.FitResult:
    (photos / "red" / "000.jpg").write_text("words")
    return vizsla.fit(photos, **TINY, name="mine", progress=False)


def test_a_fit_shows_itself_and_is_opened_again(result: vizsla.FitResult, tmp_path: Path) -> None:
    evaluation = result.evaluation
    assert repr(result).startswith(f"FitResult(accuracy {100 * evaluation.accuracy.value:.1f} % (")
    assert len(repr(result)) < 200
    html = str(result._repr_html_())
    for part in ("</svg>", "Confusion", "calibration error", "&lt;b&gt;blue"):
        assert part in html
    assert "<body" not in html
    assert "Use it" not in html, "that is for the page"
    moved = tmp_path / "elsewhere"
    result.job.rename(moved)
    again = vizsla.FitResult.open(moved)
    assert (again.job, again.model, again.report.parent) == (moved, moved / "model", moved / "output")
    assert again.to_dict()["metrics"] == result.to_dict()["metrics"]
    assert np.array_equal(again.evaluation.reliability, evaluation.reliability)
    assert (again.damaged, again.warnings, again.seconds) == (result.damaged, result.warnings, result.seconds)
    assert again._repr_html_() == html
    assert again.load().classes == ("<b>blue", "green", "red")


def test_by_name_and_what_is_no_finished_fit(result: vizsla.FitResult, tmp_path: Path) -> None:
    assert vizsla.FitResult.open("mine").job == result.job
    with pytest.raises(vizsla.JobError, match="nowhere"):
        vizsla.FitResult.open("nowhere")
    (tmp_path / "s.py").write_text("print('loss: 0.5')")
    script = vizsla.train(tmp_path / "s.py", metrics={"loss": "loss: (.*)"}, name="script", progress=False)
    assert repr(script) == "JobResult('script', Completed, loss=0.5)"
    assert "0.5" in str(script._repr_html_())
    with pytest.raises(vizsla.JobError, match="'script' keeps no result of a fit") as caught:
        vizsla.FitResult.open("script")
    assert "fit, tune, or train DATA" in str(caught.value.allowed)
    state = json.loads((result.job / "state.json").read_text())
    (result.job / "state.json").write_text(json.dumps(state | {"status": "Stopped"}))
    with pytest.raises(vizsla.JobError, match="'mine' has no result: it is Stopped") as caught:
        vizsla.FitResult.open("mine")
    assert "vizsla jobs resume mine" in str(caught.value.do)


def test_predictions_of_all_kinds_of_pictures(result: vizsla.FitResult, photos: Path) -> None:
    path = photos / "green" / "004.jpg"
    model = result.load()
    assert repr(model) == "Model(test_resnet, 3 classes: <b>blue, green, red)"
    by_path = model.predict(path)
    image = Image.open(path)
    for picture in (str(path), path.read_bytes(), bytearray(path.read_bytes()), image, np.asarray(image)):
        prediction = model.predict(picture)
        assert np.array_equal(prediction.probabilities, by_path.probabilities)
        html = str(prediction._repr_html_())
        assert "data:image/jpeg" in html
        assert "&lt;b&gt;blue" in html
    assert repr(by_path).startswith(f"Prediction({by_path.label!r} ")
    many = list(model.predict_many([path, image]))
    assert [p.to_dict()["label"] for p in many if isinstance(p, vizsla.Prediction)] == [by_path.label] * 2
    assert "data:image/jpeg" in str(many[0]._repr_html_())  # type: ignore[union-attr]
    assert "<img" not in str(many[1]._repr_html_()), "of many, pictures are not kept"  # type: ignore[union-attr]
    for wrong in (path.open("rb"), 3, None):
        with pytest.raises(vizsla.UsageError, match="is no picture") as caught:
            model.predict(wrong)  # type: ignore[arg-type]
        assert "a path, the bytes of a file" in str(caught.value.allowed)


def test_tables(result: vizsla.FitResult, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = result.evaluation.dataframe()
    assert list(classes["class"]) == ["<b>blue", "green", "red"]
    assert (classes["recall_low"] <= classes["recall"]).all()
    predictions = result.predictions()
    assert len(predictions) == result.evaluation.n
    right = (predictions["label"] == predictions["predicted"]).mean()
    assert right == pytest.approx(result.evaluation.accuracy.value)
    dataset = vizsla.open_dataset(photos)
    assert repr(dataset) == "Dataset('photos', 90 pictures of 3 classes: <b>blue, green, red)"
    assert dict(dataset.dataframe()["split"].value_counts())["train"] == len(dataset.rows("train"))
    assert dataset.sealed().dataframe()["label"].isna().sum() == len(dataset.rows("test"))
    checked = vizsla.check(photos, progress=False)
    assert repr(checked).startswith("CheckResult(89 of 90 pictures are used; ")
    findings = checked.dataframe()
    assert "red/000.jpg" in set(findings["path"])
    assert set(findings["id"]) == {finding.id for finding in checked.findings}
    assert "cannot be read" in str(checked._repr_html_())
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table in (result.predictions, result.evaluation.dataframe, checked.dataframe, dataset.dataframe):
        with pytest.raises(vizsla.MissingExtraError, match="needs the package 'pandas'") as caught:
            table()
        assert caught.value.do == "pip install 'vizsla[notebook]'"


def test_progress_goes_to_stderr_and_can_be_silent(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vizsla.check(photos)
    shown = capfd.readouterr()
    assert "Looking at every picture" in shown.err
    assert shown.out == ""
    vizsla.check(photos, progress=False)
    assert capfd.readouterr() == ("", "")


def test_what_is_given_beside_a_search_is_fixed(photos: Path, tmp_path: Path) -> None:
    stored = tmp_path / "fixed.json"
    stored.write_text('{"learning-rate": "0.02"}')
    options: dict[str, Any] = TINY | {"progress": False}
    for fixed in ({"lr": 0.02}, {"hyperparameters": {"lr": 0.02}}, {"hyperparameters": stored}):
        result = vizsla.fit(photos, tune=2, epochs=3, **fixed, **options)
        search = result.search
        assert search is not None
        assert set(search.space.parameters) == {"weight_decay", "batch_size"}
        trained = json.loads((result.model / "model.json").read_text())["provenance"]["hyperparameters"]
        assert (trained["lr"], trained["epochs"]) == (0.02, 3)
    assert "SearchResult(2 trials, trial " in repr(search)
    assert "Configurations" in str(search._repr_html_())
    again = vizsla.FitResult.open(result.job).search
    assert again is not None
    assert (again.trials, again.space, again.hyperparameters()) == (
        search.trials,
        search.space,
        search.hyperparameters(),
    )
    assert again.verdict is not None
    assert again.value == search.value
    asked = vizsla.SearchRequest(space=vizsla.Space.of({"weight_decay": "0.001..1:log"}), finalists=0)
    with pytest.raises(vizsla.UsageError, match="Parameter 'weight_decay' comes twice"):
        vizsla.fit(photos, tune=asked, hyperparameters="wd=0.1", **options)
    with pytest.raises(vizsla.UsageError, match="Nothing is left to search: lr, weight_decay, batch_size are fixed"):
        vizsla.fit(photos, tune=2, lr=0.1, weight_decay=0.1, batch_size=32, **options)
    with pytest.raises(vizsla.UsageError, match="There is no hyperparameter 'lrr'"):
        vizsla.fit(photos, lrr=0.1, **options)


def test_a_search_for_heads_that_take_no_steps(photos: Path) -> None:
    for fixed in ({"optimizer": "lbfgs"}, {"head": "cosine"}):
        result = vizsla.fit(photos, tune=2, **fixed, **TINY, progress=False)
        assert result.search is not None
        assert set(result.search.space.parameters) == {"weight_decay"}
        card = json.loads((result.model / "model.json").read_text())
        assert card["head"] == fixed.get("head", "linear")
        assert card["provenance"]["hyperparameters"]["optimizer"] == "lbfgs"


def test_a_winner_without_steps_is_given_to_fit_again(photos: Path) -> None:
    space = {"optimizer": ["lbfgs", "adamw"], "lr": "0.000001..0.00001"}
    search = vizsla.tune(
        photos, space, trials=8, strategy="random", finalists=0, hyperparameters="epochs=1", **TINY, progress=False
    ).search
    assert search is not None
    assert search.winner.params["optimizer"] == "lbfgs", "one epoch of tiny steps is no match"
    assert search.hyperparameters() == {"optimizer": "lbfgs"}
    assert vizsla.load_tuning(search.name).best_hyperparameters() == {"optimizer": "lbfgs"}
    assert "TuningJob(" in repr(vizsla.load_tuning(search.name))
    vizsla.fit(photos, hyperparameters=search.hyperparameters(), **TINY, progress=False)


def test_an_endpoint_in_the_background(
    result: vizsla.FitResult, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = photos / "green" / "004.jpg"
    expected = result.load().predict(path).probabilities
    with vizsla.serve(result) as endpoint, vizsla.serve(result.job) as other:
        assert endpoint.url != other.url
        for each in (endpoint, other):
            headers = {"Content-Type": "application/x-image"}
            request = urllib.request.Request(f"{each.url}/invocations", path.read_bytes(), headers)
            answer = json.load(urllib.request.urlopen(request))
            assert np.array_equal(np.asarray(answer, np.float32), expected)
        assert endpoint.url in endpoint._repr_html_()
    assert not endpoint.running
    assert repr(endpoint) == f"Endpoint({endpoint.url!r}, closed)"
    endpoint.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(endpoint.url)
    assert capfd.readouterr() == ("", ""), "a cell is not filled with lines of a log"


def test_an_endpoint_that_cannot_start(result: vizsla.FitResult, tmp_path: Path) -> None:
    with pytest.raises(vizsla.VizslaError, match="no model"):
        vizsla.serve(tmp_path / "nothing")
    with vizsla.serve(result) as endpoint, pytest.raises(vizsla.UsageError, match="Cannot listen on"):
        vizsla.serve(result, port=int(endpoint.url.rpartition(":")[2]))
    with pytest.raises(vizsla.UsageError, match=r"On 0\.0\.0\.0 everybody"):
        vizsla.serve(result, host="0.0.0.0")
