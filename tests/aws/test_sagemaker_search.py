"""A search that SageMaker runs, against our own door: one request goes out, trials run there, the best comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commandline import vizsla
from tests.conftest import free_port
from tests.patience import come
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.sagemaker_account import Clients

SCRIPT = """
import argparse, os, time
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--layers", type=int)
parser.add_argument("--kind")
parser.add_argument("--wait", type=float)
args = parser.parse_args()
print("photos", os.listdir(os.environ["SM_CHANNEL_TRAINING"]), flush=True)
time.sleep(args.wait)
print("loss:", args.lr + args.layers / 1000)
open(os.environ["SM_MODEL_DIR"] + "/model.txt", "w").write(f"{args.lr} {args.layers} {args.kind}")
"""


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of AWS, data and a script; nobody listens."""
    account = tmp_path / "account.toml"
    account.write_text(
        'role = "arn:aws:iam::000000000000:role/service-role/AmazonSageMaker-ExecutionRole"\nbucket = "mine/sent"\n'
        'image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:1.8-cpu-py36"\ncurrency = "EUR"\n'
        '[prices]\n"ml.m5.large" = 0.12\n'
    )
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"a")
    (tmp_path / "hpo.py").write_text(SCRIPT)
    for name, value in {
        "VIZSLA_SAGEMAKER": str(account),
        "VIZSLA_HOME": str(tmp_path / "here" / "runs"),
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def door(account: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Our AWS door, in a process of its own."""
    port = free_port()
    asked = [sys.executable, "-m", "vizsla", "aws", "run", "--port", str(port)]
    there = {"VIZSLA_HOME": str(tmp_path / "there" / "runs"), "VIZSLA_TRACKING": "off"}
    process = subprocess.Popen(asked, env=os.environ | there, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any("AWS at" in line for line in process.stderr)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("vizsla.workflow.sagemaker_search._LOOK_SECONDS", 0.3)
    Clients().s3.create_bucket(Bucket="mine")
    yield
    process.terminate()
    process.wait(20)


def asked(tmp_path: Path, *more: object, wait: float = 0.0) -> tuple[object, ...]:
    return (
        *("tune", f"training={tmp_path / 'photos'}", "lr=0.1..0.9", "layers=1..3", "kind=a,b"),
        *("--script", tmp_path / "hpo.py", "--metric", r"loss=loss: ([0-9.]+)", "--minimize", "--trials", 3),
        *("--hp", f"wait={wait}", "--strategy", "random", "--instance-type", "ml.m5.large", "--executor", "sagemaker"),
        *("--max-parallel-jobs", 2, *more),
    )


@pytest.mark.usefixtures("account")
def test_the_request_is_printed_with_what_it_may_cost(tmp_path: Path) -> None:
    said = vizsla(*asked(tmp_path, "--dry-run", "--minutes", 30, "--target", 0.2, "--name", "search"))
    assert said.returncode == 0, said.stderr
    request = json.loads(said.stdout)
    assert request["HyperParameterTuningJobName"] == "search"
    assert request["HyperParameterTuningJobConfig"] == {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": {"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 3, "MaxRuntimeInSeconds": 1800},
        "ParameterRanges": {
            "ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "0.9", "ScalingType": "Auto"}],
            "IntegerParameterRanges": [{"Name": "layers", "MinValue": "1", "MaxValue": "3", "ScalingType": "Auto"}],
            "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
        },
        "TrainingJobEarlyStoppingType": "Auto",
        "RandomSeed": 0,
        "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": 0.2},
    }
    definition = request["TrainingJobDefinition"]
    assert definition["StaticHyperParameters"]["wait"] == "0.0"
    assert definition["StaticHyperParameters"]["sagemaker_program"] == '"hpo.py"'
    assert definition["AlgorithmSpecification"]["MetricDefinitions"] == [{"Name": "loss", "Regex": "loss: ([0-9.]+)"}]
    assert definition["ResourceConfig"] == {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
    assert "0.24 EUR an hour on 2 x ml.m5.large, at most 0.12 within its time limit" in said.stderr
    assert not (tmp_path / "here" / "runs").exists(), "nothing is made and nothing is sent"


@pytest.mark.usefixtures("account")
def test_a_grid_costs_all_of_its_combinations(tmp_path: Path) -> None:
    said = vizsla(
        *("tune", f"training={tmp_path / 'photos'}", "kind=a,b", "layers=1,2,3", "--script", tmp_path / "hpo.py"),
        *("--metric", r"loss=loss: ([0-9.]+)", "--minimize", "--strategy", "grid", "--max-parallel-jobs", 2),
        *("--instance-type", "ml.m5.large", "--executor", "sagemaker", "--dry-run", "--json"),
    )
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    limit = told["request"]["TrainingJobDefinition"]["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert "MaxNumberOfTrainingJobs" not in told["request"]["HyperParameterTuningJobConfig"]["ResourceLimits"]
    assert told["cost"]["most"] == pytest.approx(6 * 0.12 * limit / 3600)


@pytest.mark.slow
@pytest.mark.usefixtures("door")
def test_a_search_runs_there_and_its_best_model_comes_back(tmp_path: Path) -> None:
    said = vizsla(*asked(tmp_path, "--name", "out-and-back", "--json"))
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout.splitlines()[-1])["tuning"]
    trials = told["TrainingJobSummaries"]
    assert [trial["TrainingJobStatus"] for trial in trials] == ["Completed"] * 3
    best = min(trials, key=lambda trial: trial["FinalObjectiveValue"])
    assert told["BestTrainingJob"] == best
    params = best["TunedHyperParameters"]
    assert isinstance(params["layers"], int)
    assert best["FinalObjectiveValue"] == pytest.approx(params["lr"] + params["layers"] / 1000)
    job = JobDirectory.open(tmp_path / "here" / "runs" / "out-and-back")
    assert job.state.status == "Completed"
    assert (job.model / "model.txt").read_text() == f"{params['lr']} {params['layers']} {params['kind']}"
    assert (job.output / "tuning.html").is_file()
    assert "loss" in vizsla("tune", "show", "out-and-back").stdout
    exported = json.loads(vizsla("tune", "export", "out-and-back").stdout)
    assert exported == params | {"wait": 0.0}
    assert (tmp_path / "there" / "runs" / "out-and-back" / "job.json").is_file(), "it ran on the other side"


@pytest.mark.slow
@pytest.mark.usefixtures("door")
def test_one_that_lost_its_controller_goes_on_there(tmp_path: Path) -> None:
    words = [str(word) for word in asked(tmp_path, "--name", "long", wait=2.0)]
    controller = subprocess.Popen([sys.executable, "-m", "vizsla", *words], stderr=subprocess.DEVNULL)
    note = tmp_path / "here" / "runs" / "long" / ".run" / "sagemaker.json"
    assert come(lambda: (tmp_path / "there" / "runs" / "long" / "job.json").exists() and note.exists())
    controller.kill()
    controller.wait()
    again = vizsla("tune", "resume", "long", "--json")
    assert again.returncode == 0, again.stderr
    assert len(json.loads(again.stdout.splitlines()[-1])["tuning"]["TrainingJobSummaries"]) == 3
    assert json.loads(note.read_text())["attempt"] == 1, "it was sent once"


@pytest.mark.slow
@pytest.mark.usefixtures("door")
def test_one_that_is_stopped_here_is_stopped_there(tmp_path: Path) -> None:
    words = [str(word) for word in asked(tmp_path, "--name", "halted", wait=30.0)]
    controller = subprocess.Popen([sys.executable, "-m", "vizsla", *words], stderr=subprocess.DEVNULL)
    assert come(lambda: any((tmp_path / "there" / "runs").glob("halted-*/logs.txt"))), "a trial runs"
    controller.send_signal(signal.SIGINT)
    controller.wait()
    sagemaker = Clients().sagemaker

    def status() -> str:
        told = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="halted")
        return str(told["HyperParameterTuningJobStatus"])

    assert come(lambda: status() == "Stopped")


@pytest.mark.parametrize(
    ("more", "words", "allowed"),
    [
        (("--strategy", "asha"), "SageMaker has no strategy 'asha'.", "default or bayesian, random, grid, hyperband"),
        (
            ("--finalists", 2),
            "SageMaker's searches have no finalists.",
            "leave it out, or search with another executor",
        ),
        (("--instance-type", "local-1cpu"), "There is no instance type 'local-1cpu' at AWS.", "ml.m5.xlarge"),
    ],
)
@pytest.mark.usefixtures("account")
def test_what_it_cannot_do(tmp_path: Path, more: tuple[object, ...], words: str, allowed: str) -> None:
    said = vizsla(*asked(tmp_path, *more))
    assert said.returncode == 2
    assert words in said.stderr
    assert allowed in said.stderr
    assert not (tmp_path / "here" / "runs").exists()
