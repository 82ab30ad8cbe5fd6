"""The executor that sends jobs to SageMaker, against our own door: a job goes out, runs there, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vizsla.aws import server
from vizsla.jobs.conformance.scripts import Scripts, metrics_of, run_to_end, says, wait_for
from vizsla.jobs.executors.sagemaker import SageMakerExecutor

COUNTS = """
    import json, os, pathlib, sys
    folder = pathlib.Path("/opt/ml/checkpoints")
    folder = folder if folder.is_dir() else pathlib.Path(os.environ["SM_CHECKPOINT_DIR"])
    print("photos", sorted(os.listdir(os.environ["SM_CHANNEL_TRAINING"])), sys.argv[1:], flush=True)
    for epoch in range(3):
        print(f"loss: {1 / (epoch + 1)}", flush=True)
    pathlib.Path(os.environ["SM_MODEL_DIR"], "w.bin").write_text("w")
"""


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[SageMakerExecutor]:
    account = tmp_path / "account.toml"
    account.write_text(
        'role = "arn:aws:iam::000000000000:role/service-role/AmazonSageMaker-ExecutionRole"\nbucket = "mine/sent"\n'
        'image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:1.8-cpu-py36"\n'
    )
    with server.serving(tmp_path / "there" / "runs", port=0) as context, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "VIZSLA_SAGEMAKER": str(account),
            "AWS_ENDPOINT_URL": context.address,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        made = SageMakerExecutor(tmp_path / "here" / "runs", look_seconds=0.1)
        made._clients.s3.create_bucket(Bucket="mine")
        yield made


def test_a_job_goes_to_the_door_and_comes_back(executor: SageMakerExecutor, tmp_path: Path) -> None:
    scripts, photos = Scripts(tmp_path), tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"a")
    spec = scripts(
        COUNTS, {"lr": 0.5}, data={"training": photos}, metrics={"loss": r"loss: ([0-9\.]+)"}, instance="ml.m5.large"
    )
    handle = executor.submit(spec, "out-and-back")
    state, events = run_to_end(executor, handle)
    log = executor.logs(handle)[0]
    assert state.status == "Completed", (state.reason, log)
    assert "photos ['a.jpg'] ['--lr', '0.5']" in log
    assert metrics_of(events) == [("loss", 1.0), ("loss", 0.5), ("loss", pytest.approx(1 / 3))]
    assert (executor.fetch(handle, "model") / "w.bin").read_text() == "w"
    assert (tmp_path / "there" / "runs" / handle.name / "job.json").is_file(), "it ran on the other side"


def test_a_failure_and_a_stop_of_the_other_side_are_told_here(executor: SageMakerExecutor, tmp_path: Path) -> None:
    scripts = Scripts(tmp_path)
    failed = executor.submit(scripts("raise SystemExit('no data')", instance="ml.m5.large"), "fails")
    state, _ = run_to_end(executor, failed)
    assert state.status == "Failed"
    assert "no data" in (failed.path / "output" / "failure").read_text()
    long = executor.submit(
        scripts("import time; print('up', flush=True); time.sleep(600)", instance="ml.m5.large"), "long"
    )
    wait_for(lambda: executor.poll([long]) and says(executor, long, "up"), 60)
    executor.stop(long, reason="enough")
    state, _ = run_to_end(executor, long)
    assert (state.status, state.reason) == ("Stopped", "enough")
