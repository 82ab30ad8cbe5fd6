"""Version 3 of the SageMaker SDK, unmodified, under ``vizsla aws run``."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.conftest import run_calls, sdk3, with_files
from vizsla.aws.context import Context
from vizsla.jobs.directory import JobDirectory

TRAIN = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--batch-size", type=int, default=0)
parser.add_argument("--name", default="")
args = parser.parse_args()
print("loss:", round(args.lr + args.batch_size, 6), "of", args.name)
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.txt"), "w") as file:
    file.write(os.environ["SM_ENTRY_SCRIPT"])
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(ctx: Context, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each call gave, of one session of the SDK."""
    folder = with_files(tmp_path_factory.mktemp("sdk3"), {"train.py": TRAIN})
    told = run_calls(ctx, sdk3(), "sdk3_calls.py", folder)
    failed = {name: one["error"] for name, one in told.items() if "error" in one}
    assert not failed, "\n".join(f"== {name}\n{error}" for name, error in failed.items())
    return {name: one["value"] for name, one in told.items()}


def test_model_trainer(results: dict[str, Any], ctx: Context) -> None:
    assert results["session"][0] == "sagemaker-us-east-1-000000000000"
    status, model = results["train"]
    assert status == "Completed"
    name = model.split("/")[-3]
    assert model.endswith(f"/{name}/output/model.tar.gz")
    job = JobDirectory.open(ctx.home / name)
    assert "loss: 0.1 of res net" in job.logs.read_text()
    assert (job.model / "model.txt").read_text() == "train.py"
    assert results["core_resources"] == "Completed"


def test_tuner(results: dict[str, Any]) -> None:
    assert results["tune"] == ["Completed", True]
