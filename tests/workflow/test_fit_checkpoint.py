"""A built-in training that ended within its head goes on from the job's checkpoint, after real kills too."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.conftest import run_to_end, wait_for
from tests.workflow.test_train import same_result
from vizsla.jobs import attempt as attempts
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.training import checkpoint
from vizsla.training.config import StepConfig
from vizsla.workflow.document import to_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.observer import Silent
from vizsla.workflow.request import FitRequest, FitResult

Folder = Callable[..., Path]
FILE = Path("checkpoints/head.checkpoint")


class EndsIt(Silent):
    """Ends a fit after an epoch of its head."""

    def __init__(self, epoch: int) -> None:
        self._epoch, self._stage = epoch, ""

    def stage(self, name: str, total: int | None = None) -> None:
        """Remember where it is."""
        self._stage = name

    def progress(self, done: int, total: int) -> None:
        """End it."""
        if (self._stage, done) == ("head", self._epoch):
            raise KeyboardInterrupt


def request(data: Path, name: str | None = None, epochs: int = 12) -> FitRequest:
    head = StepConfig(epochs=epochs, lr=0.01, seed=3, patience=None, batch_size=8)
    return FitRequest(data, "test_resnet", random_init=True, head=head, name=name)


def ended_after(epoch: int, data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The job of a fit that was ended after an epoch, each of which was kept at once."""
    monkeypatch.setattr(checkpoint, "_SECONDS", 0)
    monkeypatch.setattr(checkpoint, "_WRITES", 0)
    with pytest.raises(KeyboardInterrupt):
        fit(request(data, "mine"), EndsIt(epoch))
    assert (home / "mine" / FILE).exists()
    return home / "mine"


def resume(job: Path) -> str:
    """Go on with the job, in a process of its own, to its end; what it said then."""
    executor = LocalExecutor(job.parent)
    said = (job / "logs.txt").stat().st_size
    state, _ = run_to_end(executor, executor.resume(Handle(job.name, job)))
    assert state.status == "Completed", state.reason
    return (job / "logs.txt").read_bytes()[said:].decode()


@pytest.fixture(scope="module")
def reference(photos: Path, undisturbed: Callable[[FitRequest], FitResult]) -> Path:
    """The job of a fit of these photos that nothing disturbed."""
    return undisturbed(request(photos)).job


def test_a_resumed_fit_goes_on_after_the_last_epoch_that_was_kept(
    photos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended_after(9, photos, tmp_path / "runs", monkeypatch)
    lines = (job / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (job / "metrics.jsonl").write_bytes(b"".join(lines[:13]) + lines[13][:20])  # as a kill between two writes leaves it
    assert "note: Training goes on after epoch 8.\n" in resume(job)
    same_result(reference, job)
    assert not (job / FILE).exists(), "of no use any more"


def test_a_fit_resumed_on_other_data_trains_from_its_first_epoch(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folder_of_photos({"red": 30, "green": 30})
    job = ended_after(9, data, tmp_path / "runs", monkeypatch)
    more = folder_of_photos({"red": 31, "green": 31}, name="more")
    for path in (Path("red/030.jpg"), Path("green/030.jpg")):
        (more / path).rename(data / path)
    said = resume(job)
    assert "The checkpoint head.checkpoint is of other data" in said
    (job / "metrics.jsonl").write_bytes(b"")  # of two data sets
    reference = fit(request(data)).job
    (reference / "metrics.jsonl").write_bytes(b"")
    same_result(reference, job)


def test_a_damaged_checkpoint_is_told_and_costs_its_epochs_only(
    photos: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended_after(9, photos, tmp_path / "runs", monkeypatch)
    os.truncate(job / FILE, 500)
    assert "note: The checkpoint head.checkpoint is damaged: training begins with its first epoch.\n" in resume(job)
    same_result(reference, job)


def written(job: Path) -> int | None:
    """When the job's checkpoint was written, in nanoseconds."""
    try:
        return (job / FILE).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def kill_and_resume(path: Path, executor: LocalExecutor, moments: random.Random) -> bool | None:
    """Kill the job some time after it has kept a state, and resume it.

    Returns
    -------
    Whether there was a state to go on from; None when the job was quicker than the kill.
    """
    job, before = JobDirectory(path), written(path)
    found = wait_for(lambda: attempts.running(job, job.state.attempts))
    wait_for(lambda: written(path) != before or attempts.ended(job, job.state.attempts))
    time.sleep(moments.uniform(0, 0.9))
    if attempts.ended(job, job.state.attempts):
        return None
    os.kill(moments.choice([found.group, found.supervisor]), signal.SIGKILL)
    handle = Handle(job.name, path)
    state, _ = run_to_end(executor, handle)
    if state.status == "Completed":
        return None
    kept = (path / FILE).exists()
    executor.resume(handle)
    return kept


@pytest.mark.parametrize(
    ("epochs", "most"), [(2500, 2), pytest.param(8000, 10, marks=pytest.mark.slow)], ids=["two kills", "ten kills"]
)
def test_killed_within_the_head_it_goes_on_each_time_and_ends_with_the_same_result(
    folder_of_photos: Folder, tmp_path: Path, epochs: int, most: int
) -> None:
    data, moments = folder_of_photos({"red": 200, "green": 200}), random.Random(most)
    reference = fit(request(data, epochs=epochs)).job
    executor = LocalExecutor(tmp_path / "killed")
    handle = executor.submit(to_spec(request(data, epochs=epochs)), "photos")
    kills: list[bool] = []
    while len(kills) < most and (kept := kill_and_resume(handle.path, executor, moments)) is not None:
        kills.append(kept)
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.attempts) == ("Completed", len(kills) + 1)
    assert any(kills)
    assert (handle.path / "logs.txt").read_text().count("note: Training goes on after epoch") == sum(kills)
    same_result(reference, handle.path)


def test_vizsla_jobs_resume_says_where_training_goes_on(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended_after(5, folder_of_photos(), tmp_path / "runs", monkeypatch)
    command = [sys.executable, "-m", "vizsla", "jobs", "resume", job.name]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "note: Training goes on after epoch 4.\n" in ended.stdout + ended.stderr
