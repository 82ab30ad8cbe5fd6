"""``vizsla bias``: a table in, Clarify's files out, and words for what cannot be meant."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla as command

from vizsla.evaluation.bias.analysis_config import parse_analysis_config
from vizsla.models.model import load

FACET = [{"name_or_index": "site", "value_or_threshold": ["north"]}]


@pytest.fixture
def write(tmp_path: Path):
    """Writes a table of photos with truth and prediction, and a configuration; returns the command's arguments."""

    def make(facet: Any = FACET, columns: dict[str, list[object]] | None = None, **config: Any) -> list[str]:
        rng = np.random.default_rng(0)
        n = 120
        label = rng.choice(["0", "1", "2"], n)
        cells: dict[str, Any] = {
            "path": [f"{i}.jpg" for i in range(n)],
            "label": label.tolist(),
            "predicted": np.where(rng.random(n) < 0.8, label, rng.choice(["0", "1", "2"], n)).tolist(),
            "site": rng.choice(["north", "south", "east"], n, p=[0.15, 0.5, 0.35]).tolist(),
            "pictures_of_class": rng.integers(26, 78, n).tolist(),
        } | (columns or {})
        with open(tmp_path / "photos.csv", "w", newline="") as file:
            csv.writer(file).writerows([cells, *zip(*cells.values(), strict=True)])
        document = {
            "label": "label",
            "label_values_or_threshold": ["1"],
            "predicted_label": "predicted",
            "facet": facet,
            "excluded_columns": ["path"],
        } | config
        (tmp_path / "analysis_config.json").write_text(json.dumps({k: v for k, v in document.items() if v is not None}))
        return [str(tmp_path / "photos.csv"), "--config", str(tmp_path / "analysis_config.json")]

    return make


def error_of(arguments: list[str]) -> str:
    said = command("bias", *arguments)
    assert said.returncode in (1, 2), said.stdout
    return said.stderr


def test_the_files_are_clarifys(write, tmp_path: Path) -> None:
    said = command("bias", *write(), "--output", tmp_path / "out", "--json")
    assert said.returncode == 0, said.stderr
    document = json.loads((tmp_path / "out" / "analysis.json").read_bytes())
    assert document == json.loads(said.stdout)["analysis"]
    assert document["version"] == "1.0"
    names = {}
    for section in ("pre_training_bias_metrics", "post_training_bias_metrics"):
        assert document[section]["label"] == "label"
        assert document[section]["label_value_or_threshold"] == "1"
        (entry,) = document[section]["facets"]["site"]
        assert entry["value_or_threshold"] == "north"
        names[section] = [metric["name"] for metric in entry["metrics"]]
        for metric in entry["metrics"]:
            assert set(metric) >= {"name", "description", "value"}
            assert metric["value"] is not None or "error" in metric
    assert names["pre_training_bias_metrics"] == ["CI", "DPL", "KL", "JS", "LP", "TVD", "KS", "CDDL"]
    assert len(names["post_training_bias_metrics"]) == 13
    page = (tmp_path / "out" / "report.html").read_text()
    for section in ("Analysis configuration", "High-level model performance", "Pre-training bias metrics", "Appendix"):
        assert section in page
    assert "too small to judge" in page
    assert entry["too_small_to_judge"]
    assert "fewer than 30 rows" in said.stderr
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 21


def test_a_batch_transforms_output_is_joined_with_the_truth(write, tmp_path: Path) -> None:
    arguments = write(predicted_label="guess", predicted_label_dataset_uri=str(tmp_path / "out.csv"))
    config = json.loads((tmp_path / "analysis_config.json").read_text()) | {"joinsource_name_or_index": "path"}
    config["excluded_columns"] = ["path", "predicted"]
    (tmp_path / "analysis_config.json").write_text(json.dumps(config))
    with open(tmp_path / "photos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "out.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "guess"), *((row["path"], row["predicted"]) for row in rows[::-1])])
    joined = json.loads(command("bias", *arguments, "--json").stdout)["analysis"]
    assert joined == json.loads(command("bias", *write(), "--json").stdout)["analysis"]
    write(predicted_label="guess", predicted_label_dataset_uri=str(tmp_path / "out.csv"))
    (tmp_path / "analysis_config.json").write_text(json.dumps(config))
    with open(tmp_path / "out.csv", "a", newline="") as file:
        file.write("0.jpg,1\n")
    assert "names a row twice" in error_of(arguments)
    (tmp_path / "out.csv").write_text("path,guess\n0.jpg,1\n")
    words = error_of(arguments)
    assert "119 of 120 rows have no partner, such as path = '1.jpg'" in words


def test_every_value_of_a_facet_is_looked_at_where_none_is_named(write) -> None:
    said = json.loads(command("bias", *write([{"name_or_index": "site"}]), "--json").stdout)
    facets = said["analysis"]["pre_training_bias_metrics"]["facets"]["site"]
    assert [entry["value_or_threshold"] for entry in facets] == ["east", "north", "south"]


def test_a_quantity_is_a_threshold(write) -> None:
    facet = [{"name_or_index": "pictures_of_class", "value_or_threshold": [50]}]
    said = json.loads(command("bias", *write(facet), "--json").stdout)
    (entry,) = said["analysis"]["pre_training_bias_metrics"]["facets"]["pictures_of_class"]
    assert entry["value_or_threshold"].startswith("(50, ")


def test_a_class_is_a_group_like_any_other(write) -> None:
    facet = [{"name_or_index": "label", "value_or_threshold": ["2"]}]
    arguments = write(facet)
    said = json.loads(command("bias", *arguments, "--json").stdout)["analysis"]["pre_training_bias_metrics"]
    (entry,) = said["facets"]["label"]
    (ci,) = [metric for metric in entry["metrics"] if metric["name"] == "CI"]
    n = entry["rows"]
    assert ci["value"] == pytest.approx((n["others"] - n["facet"]) / 120)


def test_it_is_a_job_that_can_be_resumed(write, tmp_path: Path) -> None:
    said = command("bias", *write(), "--name", "fair", "--output", tmp_path / "out")
    assert said.returncode == 0
    state = tmp_path / "runs" / "fair" / "state.json"
    state.write_text(json.dumps(json.loads(state.read_bytes()) | {"status": "Failed"}))
    before = (tmp_path / "out" / "analysis.json").read_bytes()
    (tmp_path / "out" / "analysis.json").unlink()
    assert command("jobs", "resume", "fair").returncode == 0
    assert (tmp_path / "out" / "analysis.json").read_bytes() == before


def test_a_numeric_facet_taken_as_categories_is_refused_with_the_reason(write) -> None:
    words = error_of(write([{"name_or_index": "pictures_of_class", "value_or_threshold": [73, 74, 75, 76, 77]}]))
    assert "is a quantity of" in words
    assert "would be read as categories" in words
    assert "of 120 rows" in words
    assert "give a threshold" in words
    assert "each of its values would be read as categories" in error_of(write([{"name_or_index": "pictures_of_class"}]))


def test_ids_that_do_not_match_are_refused(write) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(1, 4, 120)
    words = error_of(write(columns={"label": label.tolist(), "predicted": (label - 1).tolist()}))
    assert "predicted ids are shifted by one: 0 to 2 where the labels run 1 to 3" in words
    assert "add 1 to the predictions" in words
    many = np.resize(np.arange(1, 134), 120)  # as many as dog breeds, so that they might be a quantity
    words = error_of(write(columns={"label": many.tolist(), "predicted": (many - 1).tolist()}))
    assert "predicted ids are shifted by one" in words
    words = error_of(write(columns={"predicted": ["cat"] * 120}))
    assert "no value in common" in words
    assert "labels of another model" in words


CODE = """
import json
def model_fn(folder):
    return None
def input_fn(body, content_type):
    return body.strip().split(",")
def predict_fn(row, model):
    return {"predictions": [{"label": row[0]}]}
def output_fn(prediction, accept):
    return json.dumps(prediction), accept
"""
PREDICTOR = {"content_type": "text/csv", "accept_type": "application/json", "label": "predictions[0].label"}


def test_a_model_is_asked_for_what_no_column_says(write, tmp_path: Path) -> None:
    """It answers with the first feature of each row, which is the column that is named otherwise."""
    (tmp_path / "model" / "code").mkdir(parents=True)
    (tmp_path / "model" / "code" / "inference.py").write_text(CODE)
    methods = {"post_training_bias": {"methods": ["DPPL", "DI", "AD"]}}
    by_column = command("bias", *write(methods=methods), "--json")
    arguments = write(methods=methods, predicted_label=None, predictor=PREDICTOR)
    asked = command("bias", *arguments, "--model", tmp_path / "model", "--allow-code", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["analysis"] == json.loads(by_column.stdout)["analysis"]
    assert "asks a predictor for the predictions, and no model is named" in error_of(arguments)
    assert "brings its own code" in error_of([*arguments, "--model", str(tmp_path / "model")])


def test_a_model_is_asked_about_the_pictures_of_a_column(
    write, tmp_path: Path, folder_of_photos: Any, tiny_backbone: Any
) -> None:
    from tests.batch.conftest import save_model

    model = save_model(tmp_path / "model", tiny_backbone, 1)
    photos = folder_of_photos({"rose": 20})
    paths = [str(path) for path in sorted((photos / "rose").iterdir())] * 6
    label = load(model).predict(paths[0]).label
    columns: dict[str, Any] = {"path": paths, "label": [label] * 60 + ["other"] * 60}
    methods = {"post_training_bias": {"methods": ["AD"]}}
    options = {"label_values_or_threshold": [label], "predicted_label": None, "excluded_columns": ["predicted"]}
    predictor = {"content_type": "image/jpeg"}
    arguments = write(columns=columns, methods=methods, predictor=predictor, features="path", **options)
    said = command("bias", *arguments, "--model", model, "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["analysis"]["post_training_bias_metrics"]
    words = error_of([*write(columns=columns, methods=methods, predictor=predictor, **options), "--model", str(model)])
    assert "no column says which" in words


def test_a_missing_browser_is_said_before_there_is_a_job(
    write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = write()
    monkeypatch.setenv("PATH", str(tmp_path))
    said = command("bias", *arguments, "--pdf")
    assert said.returncode == 2
    assert "There is no browser to print with" in said.stderr
    assert not list((tmp_path / "runs").glob("bias-*"))


def test_groups_that_are_none(write) -> None:
    assert "has one value, 'x'" in error_of(write(columns={"site": ["x"] * 120}))
    words = error_of(write([{"name_or_index": "site", "value_or_threshold": ["west"]}]))
    assert "no row with 'west': the group is empty" in words
    assert "'north'" in words
    facet = [{"name_or_index": "pictures_of_class", "value_or_threshold": [500]}]
    assert "is empty: there is nothing to compare" in error_of(write(facet))
    every = [{"name_or_index": "site", "value_or_threshold": ["north", "south", "east"]}]
    assert "is all rows" in error_of(write(every))


def test_what_is_wrong_with_a_configuration_is_said(write, tmp_path: Path) -> None:
    assert "which of them is the good outcome is not said" in error_of(write(label_values_or_threshold=None))
    assert "no column 'sight'" in error_of(write([{"name_or_index": "sight"}]))
    assert "Every row has" in error_of(write(label_values_or_threshold=["0", "1", "2"]))
    assert "facets: Extra inputs" in error_of(write(facets=[]))
    assert "no metric 'XY'" in error_of(write(methods={"pre_training_bias": {"methods": ["XY"]}}))
    words = error_of(write(predicted_label=None, methods={"post_training_bias": {"methods": "all"}}))
    assert "need predictions" in words
    assert "is empty in 1 rows, first in row 1" in error_of(write(columns={"site": ["", *["x"] * 119]}))
    arguments = write()
    Path(arguments[2]).write_text("{label: 1}")
    assert "is no JSON" in error_of(arguments)
    assert "cannot be read" in error_of([arguments[0], "--config", str(tmp_path / "none.json")])
    assert not list((tmp_path / "runs").glob("bias-*"))


def test_a_configuration_of_clarifys_sdk_is_read() -> None:
    """As ``sagemaker.clarify`` writes it for a bias report on a CSV."""
    config = parse_analysis_config(
        {
            "dataset_type": "text/csv",
            "headers": ["Label", "Sex", "Age"],
            "label": "Label",
            "label_values_or_threshold": [1],
            "facet": [{"name_or_index": "Sex", "value_or_threshold": [0]}],
            "group_variable": "Age",
            "methods": {
                "report": {"name": "report", "title": "Analysis Report"},
                "pre_training_bias": {"methods": "all"},
                "post_training_bias": {"methods": ["DPPL", "DI"]},
            },
            "predictor": {"model_name": "m", "instance_type": "ml.c5.xlarge", "initial_instance_count": 1},
            "predicted_label": 0,
        }
    )
    assert config.posttraining == ("DPPL", "DI")


def test_a_table_without_a_line_of_names_gets_them_from_the_configuration(write, tmp_path: Path) -> None:
    arguments = write()
    text = Path(arguments[0]).read_text().split("\n", 1)
    config = json.loads(Path(arguments[2]).read_text()) | {"headers": text[0].split(",")}
    expected = json.loads(command("bias", *arguments, "--json").stdout)["analysis"]
    Path(arguments[0]).write_text(text[1])
    Path(arguments[2]).write_text(json.dumps(config))
    assert json.loads(command("bias", *arguments, "--json").stdout)["analysis"] == expected
