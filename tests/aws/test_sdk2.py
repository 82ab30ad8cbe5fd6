"""Version 2 of the SageMaker SDK, unmodified, under ``vizsla aws run``: what notebooks call, a test each."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.conftest import run_calls, sdk2, with_files
from vizsla.aws import images
from vizsla.aws.context import Context

TRAIN = """
import argparse, json, os

def model_fn(model_dir):
    with open(os.path.join(model_dir, "model.txt")) as file:
        return file.read()

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return [len(data) > 0]

def output_fn(prediction, accept):
    import io, numpy
    buffer = io.BytesIO()
    numpy.save(buffer, numpy.array(prediction, "float32"))
    return buffer.getvalue(), "application/x-npy"

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=0)
    parser.add_argument("--fail", default="no")
    args, _ = parser.parse_known_args()
    if args.fail == "yes":
        raise ValueError("the labels are torn")
    print("loss:", round(args.lr + args.batch_size, 6))
    with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.txt"), "w") as file:
        file.write("weights")
"""
INFERENCE = """
import json

def model_fn(model_dir):
    return "model"

def input_fn(body, content_type):
    return content_type, body

def predict_fn(data, model):
    return {"type": data[0], "size": len(data[1])}

def output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(ctx: Context, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each call gave, of one session of the SDK."""
    folder = with_files(tmp_path_factory.mktemp("sdk2"), {"train.py": TRAIN, "inference.py": INFERENCE})
    images.add(ctx.state, "dog-breed-hpo", folder / "code", "train.py")
    return run_calls(ctx, sdk2(), "sdk2_calls.py", folder)


def test_every_call_gave_an_answer(results: dict[str, Any]) -> None:
    failed = {name: told["error"] for name, told in results.items() if "error" in told}
    assert not failed, "\n".join(f"== {name}\n{error}" for name, error in failed.items())


BUCKET = "sagemaker-us-east-1-000000000000"


def _value(results: dict[str, Any], row: str) -> Any:
    assert "value" in results[row], results[row]["error"]
    return results[row]["value"]


def test_session_bucket_and_role(results: dict[str, Any]) -> None:
    bucket, role = _value(results, "session")
    assert bucket == BUCKET
    assert role.startswith("arn:aws:iam::000000000000:role/")


def test_upload_and_download(results: dict[str, Any], ctx: Context) -> None:
    assert _value(results, "upload_data") == f"s3://{BUCKET}/data"
    assert (ctx.home / "buckets" / BUCKET / "data" / "one.txt").read_text() == "one"
    assert _value(results, "uploader_and_downloader") == [[f"s3://{BUCKET}/loader/train.py"], True]


def test_fit_names_what_it_leaves(results: dict[str, Any]) -> None:
    model, name, debug = _value(results, "fit")
    assert model == f"s3://{BUCKET}/{name}/output/model.tar.gz"
    assert debug == f"s3://{BUCKET}/{name}/debug-output"
    status, values = _value(results, "describe")
    assert status == "Completed"
    assert (values["lr"], values["name"], values["flag"]) == ("0.1", '"res net"', "true")


def test_rules_are_summed_up(results: dict[str, Any]) -> None:
    told = _value(results, "rule_job_summary")
    assert set(told) == {"VanishingGradient", "Overfit", "LossNotDecreasing", "LowGPUUtilization", "ProfilerReport"}
    assert told["VanishingGradient"] == "NoIssuesFound"


def test_attach_and_waits(results: dict[str, Any]) -> None:
    assert _value(results, "fit_without_wait_and_attach") == ["0.1", "Completed"]
    assert _value(results, "fit_without_channels_and_logs") == "Completed"
    assert _value(results, "local_mode") == "Completed"


def test_a_failure_raises_with_its_reason(results: dict[str, Any]) -> None:
    kind, words = _value(results, "fit_that_fails")
    assert kind == "UnexpectedStatusException"
    assert "the labels are torn" in words


def test_metrics_of_a_training(results: dict[str, Any]) -> None:
    columns, values = _value(results, "analytics_of_a_training")
    assert columns == ["timestamp", "metric_name", "value"]
    assert values == [pytest.approx(0.1)]


def test_a_custom_image(results: dict[str, Any]) -> None:
    assert _value(results, "custom_image") == pytest.approx(0.5)


def test_the_tuner_finds_the_best(results: dict[str, Any]) -> None:
    columns, is_best, batches, count = _value(results, "tuner")
    assert {"lr", "batch-size", "TrainingJobName", "FinalObjectiveValue", "TrainingElapsedTimeSeconds"} <= set(columns)
    assert is_best
    assert count == 3
    assert all(batch in ('"32"', '"64"', '"128"') for batch in batches)
    objective, batch, names = _value(results, "best_estimator")
    assert objective == '"loss"'
    assert batch in ('"32"', '"64"', '"128"')
    assert {"sagemaker_estimator_class_name", "sagemaker_program", "name"} <= set(names)
    status, same, ranges = _value(results, "attach_to_a_tuner")
    assert (status, same) == ("Completed", True)
    assert ranges


def test_models_are_served(results: dict[str, Any]) -> None:
    assert _value(results, "deploy_of_an_estimator") == [1.0]
    assert _value(results, "deploy_of_a_model") == {"type": "image/jpeg", "size": 5}
    assert _value(results, "update_endpoint") == {"type": "image/jpeg", "size": 3}
    assert "Could not find" in _value(results, "delete")


def test_a_version_is_registered_transformed_with_and_served(results: dict[str, Any]) -> None:
    assert _value(results, "register") == "arn:aws:sagemaker:us-east-1:000000000000:model-package/breeds/1"
    assert _value(results, "transform") == [
        "transformed/valid/001.Affenpinscher/a.jpg.out",
        "transformed/valid/002.Afghan/b.jpg.out",
    ]
    assert _value(results, "deploy_of_a_package") == {"type": "application/x-image", "size": 7}


def test_many_models(results: dict[str, Any]) -> None:
    names, answer = _value(results, "many_models")
    assert names == ["dogs/model.tar.gz"]
    assert answer == {"type": "application/x-image", "size": 2}


def test_clarify_measures_bias(results: dict[str, Any]) -> None:
    files, sections = _value(results, "run_bias")
    assert {"analysis.json", "report.html", "analysis_config.json"} <= set(files)
    assert "pre_training_bias_metrics" in sections
    assert _value(results, "stop_what_has_ended") is True


def test_a_run_of_an_experiment(results: dict[str, Any]) -> None:
    assert _value(results, "run_of_an_experiment") == [["roses-first"], [0.1], [1.0], [2.0]]
