"""The built-in training as a job: in this process, in one of its own, and killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vizsla
from tests.jobs.conftest import run_to_end, wait_for
from vizsla.errors import JobError, UsageError
from vizsla.jobs import attempt as attempts
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.metrics import read_metrics
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.models import artifact
from vizsla.training.config import StepConfig
from vizsla.workflow.document import from_spec, to_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest, FitResult

Folder = Callable[..., Path]


def request(data: Path, name: str | None = None) -> FitRequest:
    """A small job: an untrained backbone, a few epochs."""
    return FitRequest(data, "test_resnet", random_init=True, head=StepConfig(epochs=6, lr=0.01, seed=3), name=name)


def test_the_document_gives_the_request_back(tmp_path: Path) -> None:
    asked = FitRequest(
        tmp_path / "mes fleurs é",
        "resnet18",
        tmp_path / "w.pth",
        True,
        StepConfig(lr=1e-5, patience=None),
        2.5,
        "a-job",
    )
    document = json.loads(json.dumps(to_spec(asked).to_dict()))
    assert all(isinstance(value, str) for value in document["HyperParameters"].values())
    assert from_spec(TrainingJobSpec.read(document)) == asked


def test_an_unknown_hyperparameter_is_refused_by_name(tmp_path: Path) -> None:
    document = to_spec(request(tmp_path)).to_dict()
    document["HyperParameters"]["learning"] = "0.1"
    with pytest.raises(UsageError, match="There is no hyperparameter 'learning'") as caught:
        from_spec(TrainingJobSpec.read(document))
    assert "lr" in str(caught.value.allowed)
    assert "weights" in str(caught.value.allowed)
    del document["HyperParameters"]["learning"]
    for text, classes in (("1", ("1",)), ("red", ("red",)), ('["a", "b"]', ("a", "b"))):
        document["HyperParameters"]["drop_classes"] = text
        assert from_spec(TrainingJobSpec.read(document)).source.drop_classes == classes


@pytest.mark.parametrize(
    ("option", "do"),
    [
        ("layout", "give it in source=vizsla.SourceOptions(layout=...)"),
        ("near_copies", "give it in gate=vizsla.GateOptions(near_copies=...)"),
        ("weight_decai", "did you mean 'weight_decay'?"),
    ],
)
def test_an_option_on_data_among_the_hyperparameters_of_fit(tmp_path: Path, option: str, do: str) -> None:
    with pytest.raises(UsageError, match=f"There is no hyperparameter '{option}'") as caught:
        vizsla.fit(tmp_path, **{option: 1})
    assert caught.value.do == do


@pytest.fixture(scope="module")
def reference(photos: Path, undisturbed: Callable[[FitRequest], FitResult]) -> Path:
    """The job of a fit of these photos in this process, which nothing disturbed."""
    return undisturbed(request(photos)).job


def same_result(one: Path, other: Path) -> None:
    """Both jobs ended with the same bits."""
    heads = [artifact.load(job / "model").head for job in (one, other)]
    assert np.array_equal(heads[0].weight, heads[1].weight)
    assert np.array_equal(heads[0].bias, heads[1].bias)
    predictions = [(job / "output" / "test-predictions.csv").read_bytes() for job in (one, other)]
    assert predictions[0] == predictions[1]
    values = [[(m.name, m.step, m.value) for m in read_metrics(job / "metrics.jsonl")] for job in (one, other)]
    assert sorted(values[0], key=str) == sorted(values[1], key=str), "every metric once, with the same value"


def test_fit_in_this_process_and_train_in_its_own_end_alike(photos: Path, reference: Path, tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path / "jobs")
    handle = executor.submit(to_spec(request(photos)), "photos")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    same_result(reference, handle.path)
    assert "evaluation" in (reference / "logs.txt").read_text()
    assert JobDirectory.open(reference).document["HyperParameters"]["lr"] == "0.01"


def test_a_failure_in_its_own_process_comes_in_the_words_of_fit(folder_of_photos: Folder, tmp_path: Path) -> None:
    data = folder_of_photos({"red": 2})
    executor = LocalExecutor(tmp_path / "jobs")
    handle = executor.submit(to_spec(request(data)), "photos")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    words = (handle.path / "output" / "failure").read_text()
    assert str(state.reason).startswith(words.splitlines()[0])
    with pytest.raises(Exception, match="class") as caught:
        fit(request(data))
    assert words == str(caught.value)


def kill_and_resume(data: Path, home: Path, reference: Path, moments: random.Random) -> int:
    """Kill the job at random moments, four times at most, until it gets through; how often it was killed."""
    executor = LocalExecutor(home)
    handle = executor.submit(to_spec(request(data)), "photos")
    kills = 0
    while True:
        job = JobDirectory(handle.path)
        found = wait_for(lambda job=job: attempts.running(job, job.state.attempts))
        if kills < 4:
            time.sleep(moments.uniform(0, 0.6))
        else:
            run_to_end(executor, handle)
        victim = moments.choice([found.group, found.supervisor])
        if JobDirectory(handle.path).state.has_ended or attempts.ended(job, job.state.attempts):
            break
        os.kill(victim, signal.SIGKILL)
        kills += 1
        state, _ = run_to_end(executor, handle)
        assert state.status == "Failed", state
        assert state.reason
        executor.resume(handle)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    assert state.attempts == kills + 1
    same_result(reference, handle.path)
    return kills


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_it_ends_with_the_same_result(
    folder_of_photos: Folder, tmp_path: Path
) -> None:
    data = folder_of_photos({"red": 300, "green": 300})
    reference = fit(request(data)).job
    moments = random.Random(5)
    assert sum(kill_and_resume(data, tmp_path / str(i), reference, moments) for i in range(5)) >= 5


def test_killed_once_while_it_trains_and_resumed_it_ends_with_the_same_result(
    photos: Path, reference: Path, tmp_path: Path
) -> None:
    executor = LocalExecutor(tmp_path / "jobs")
    handle = executor.submit(to_spec(request(photos)), "photos")
    wait_for(lambda: any(read_metrics(handle.path / "metrics.jsonl")))
    found = attempts.running(JobDirectory(handle.path), 1)
    assert found is not None
    os.killpg(found.group, signal.SIGKILL)
    state, _ = run_to_end(executor, handle)
    if state.status == "Failed":  # else it was quicker than the kill
        executor.resume(handle)
        state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    same_result(reference, handle.path)


IN_PROCESS = """
import sys, time
from pathlib import Path
from vizsla.training.config import StepConfig
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest, FitResult
class Observer:
    def stage(self, name, total=None): print(name, flush=True)
    def progress(self, done, total): time.sleep(float(sys.argv[2]))
    def note(self, text): pass
fit(FitRequest(Path(sys.argv[1]), "test_resnet", random_init=True, head=StepConfig(epochs=6, lr=0.01, seed=3),
               name="mine"), Observer())
"""


def in_process(data: Path, until: str, pause: float = 0) -> subprocess.Popen[str]:
    """``fit`` within a process of its own, which has come to the stage ``until``; it waits ``pause`` s a picture."""
    command = [sys.executable, "-c", IN_PROCESS, str(data), str(pause)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == until:
            break
    return process


def test_a_fit_that_was_killed_is_resumed_as_a_job_of_its_own(photos: Path, reference: Path, tmp_path: Path) -> None:
    process = in_process(photos, "features")
    process.kill()
    process.wait()
    path = tmp_path / "runs" / "mine"
    state = attempts.settle(JobDirectory(path))
    assert state.status == "Failed"
    assert "`vizsla jobs resume mine` goes on" in str(state.reason)
    executor = LocalExecutor(path.parent)
    handle = executor.resume(Handle("mine", path))
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.attempts) == ("Completed", 2)
    same_result(reference, path)


def test_a_fit_in_another_process_is_refused_to_a_second_controller_and_can_be_stopped(
    folder_of_photos: Folder, tmp_path: Path
) -> None:

    process = in_process(folder_of_photos({"red": 300, "green": 300}), "scan", 0.5)
    path = tmp_path / "runs" / "mine"
    with pytest.raises(JobError, match=f"controlled by another process .process {process.pid}"):
        LocalExecutor(path.parent).resume(Handle("mine", path))
    state = LocalExecutor(path.parent).end(Handle("mine", path), grace=20, reason="enough")
    assert (state.status, state.reason) == ("Stopped", "enough")
    assert process.wait() == 1
