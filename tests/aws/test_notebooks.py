"""The notebooks of examples/aws: run headless as they are, by a kernel with version 2 of the SDK, each cell of them."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.aws.conftest import sdk2, sdk3
from vizsla.aws import images
from vizsla.aws.context import Context
from vizsla.aws.kernel import install
from vizsla.jobs import controller

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "aws"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
Outputs = list[list[Any]]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_holds_no_outputs(path: Path) -> None:
    assert path.stat().st_size < 12_000
    cells = json.loads(path.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.fixture(scope="module")
def execute(
    ctx: Context, write_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Outputs, Path]]:
    """Runs a notebook beside a small data set; the outputs of its code cells, and its folder."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    few = {"001.Affenpinscher": 4, "002.Afghan_hound": 4, "003.Airedale_terrier": 4}
    photos = write_photos(
        tmp_path_factory.mktemp("photos") / "dogImages",
        splits={"train": dict.fromkeys(few, 12), "valid": few, "test": few},
    )

    def run(name: str, python: Callable[[], Path] = sdk2) -> tuple[Outputs, Path]:
        folder = tmp_path_factory.mktemp(name)
        prefix = tmp_path_factory.mktemp("jupyter")
        install(python(), prefix)
        shutil.copytree(EXAMPLES / "code", folder / "code")
        shutil.copytree(photos, folder / "dogImages")
        notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
        os.environ["JUPYTER_PATH"] = str(prefix / "share" / "jupyter")
        os.environ.pop("PYTHONPATH", None)
        client = nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="vizsla", resources={"metadata": {"path": str(folder)}}
        )
        client.execute()  # raises what a cell raises
        return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"], folder

    return run


def result(outputs: list[Any]) -> str:
    """What a cell's last line gave."""
    return "".join(one["data"].get("text/plain", "") for one in outputs if one.output_type == "execute_result")


def value(outputs: list[Any]) -> Any:
    """The same, as the value that it shows."""
    return ast.literal_eval(result(outputs))


def _is_best(ctx: Context, name: str) -> bool:
    """Whether the search that a trial belongs to has no better one."""
    from vizsla.workflow.tune import load_tuning

    parent = next(one.parent for one in controller.summaries(ctx.home) if one.name == name)
    tuning = load_tuning(ctx.home / str(parent))
    winner = tuning.winner()
    values = [trial.value for trial in tuning.trials if trial.value is not None]
    best = min(values) if tuning.objective.direction == "minimize" else max(values)
    return winner is not None and winner.name == name and winner.value == best


@pytest.mark.slow
def test_debugger_and_profiler(execute: Callable[..., tuple[Outputs, Path]], ctx: Context) -> None:
    setup, _, best, _, trial, charts, rules, page, _, answer, _ = execute("resnet18_debugger_profiler")[0]
    assert value(setup) == "s3://sagemaker-us-east-1-000000000000/dogImages"
    name, values = value(best)
    assert _is_best(ctx, name)
    assert values["batch-size"] in (64, 128, 256, 512)
    assert 0.001 <= values["lr"] <= 0.1
    assert 2 <= values["epochs"] <= 4
    train, evaluation, names = value(trial)
    assert train >= 1
    assert evaluation >= 1
    assert names
    assert "<svg" in "".join(one["data"].get("text/html", "") for one in charts if "data" in one)
    told = dict(value(rules))
    assert told["VanishingGradient"] in ("NoIssuesFound", "IssuesFound")
    assert told["ProfilerReport"] in ("NoIssuesFound", "IssuesFound")
    html = "".join(one["data"].get("text/html", "") for one in page if "data" in one)
    assert "<h2>System usage</h2>" in html
    assert "LowGPUUtilization" in html
    picture, place, classes = value(answer)
    assert "001.Affenpinscher" in picture
    assert classes == 3
    assert 0 <= place < 3


@pytest.mark.slow
def test_optimizer_search(execute: Callable[..., tuple[Outputs, Path]]) -> None:
    _, _, table, model, frame, trial, _, answer, _ = execute("optimizer_search")[0]
    assert "FinalObjectiveValue" in result(table)
    assert re.fullmatch(r"'s3://[\w-]+/trained/[\w-]+/output/model\.tar\.gz'", result(model).strip())
    for column in ("timestamp", "system_metric", "dimension", "nodeID", "CPUUtilization"):
        assert column in result(frame), column
    address, names = value(trial)
    assert "/debug-output" in address
    assert "CrossEntropyLoss_output_0" in names
    assert value(answer)["class_name"] in ("Affenpinscher", "Afghan_hound", "Airedale_terrier")


@pytest.mark.slow
def test_maximize_accuracy(execute: Callable[..., tuple[Outputs, Path]], ctx: Context) -> None:
    (keys, tuning, table, metrics, status, _, answers, _), folder = execute("maximize_accuracy")
    assert all(key.startswith("data/pictures/") for key in value(keys))
    assert value(tuning).startswith("products-")
    for column in ("lr", "batch-size", "momentum", "TrainingJobName", "TrainingElapsedTimeSeconds"):
        assert column in result(table)
    found = re.search(r"'Value': ([0-9.]+)", result(metrics))
    assert found is not None
    assert 0 <= float(found[1]) <= 100
    assert "Completed" in result(status)
    assert (folder / "model.tar.gz").stat().st_size > 1_000_000
    for scores in value(answers):
        assert math.isclose(sum(scores), 1, abs_tol=0.01)
    assert (ctx.home / "buckets" / "product-pictures").is_dir()


@pytest.mark.slow
def test_image_predictor(execute: Callable[..., tuple[Outputs, Path]]) -> None:
    _, _, best, _, metrics, _, answer, gone = execute("image_predictor")[0]
    values = value(best)
    assert values["_tuning_objective_metric"] == '"average test loss"'
    assert values["batch_size"] in ('"32"', '"64"', '"128"', '"256"', '"512"')
    assert values["sagemaker_estimator_class_name"] == '"PyTorch"'
    assert "accuracy" in result(metrics)
    (scores,) = value(answer)
    assert math.isclose(sum(scores), 1, abs_tol=1e-4)
    assert value(gone) is True


@pytest.mark.slow
def test_multi_model_and_a_second_session(execute: Callable[..., tuple[Outputs, Path]], ctx: Context) -> None:
    images.add(ctx.state, "dog-breed-hpo", EXAMPLES / "code", "hpo.py")
    image, best, _, package, _, rows, clarify, models, answer, _ = execute("multi_model")[0]
    assert value(image) == "000000000000.dkr.ecr.us-east-1.amazonaws.com/dog-breed-hpo:latest"
    assert value(best)["batch-size"] in ("32", "64")
    assert value(package).endswith(":model-package/dog-breed-classifier/1")
    assert value(rows) == 12
    assert value(clarify) == ["post_training_bias_metrics", "pre_training_bias_metrics", "version"]
    names = ["dog-breed-classifier-mobile/model.tar.gz", "dog-breed-classifier/model.tar.gz"]
    assert sorted(value(models)) == names
    text = "".join(one.text for one in answer if one.output_type == "stream")
    results = ast.literal_eval(text.removeprefix("Prediction result:").strip())
    assert results["dog-breed-classifier"] == results["dog-breed-classifier-mobile"]
    again = execute("multi_model")[
        0
    ]  # another session sees what the first left: the group is there, the version counts
    assert value(again[3]).endswith(":model-package/dog-breed-classifier/2")


@pytest.mark.slow
def test_version_3(execute: Callable[..., tuple[Outputs, Path]], ctx: Context) -> None:
    _, _, _, best, trained, _, answer, _ = execute("model_trainer", sdk3)[0]
    name, lr, batch = value(best)
    assert _is_best(ctx, name)
    assert 0.001 <= float(lr) <= 0.1
    assert batch in ("32", "64")
    status, model = value(trained)
    assert status == "Completed"
    assert model.startswith("s3://sagemaker-us-east-1-000000000000/")
    (scores,) = value(answer)
    assert math.isclose(sum(scores), 1, abs_tol=1e-4)
