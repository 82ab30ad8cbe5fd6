"""The job directory: made in one step, states in order, values that survive a kill."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vizsla.errors import JobError
from vizsla.jobs import isolate
from vizsla.jobs.directory import FOLDERS, JobDirectory, job_name
from vizsla.jobs.here import resuming_here, running_here
from vizsla.jobs.lock import ControllerLock, take
from vizsla.jobs.processes import Process


def test_a_new_job_has_everything_in_its_place(tmp_path: Path) -> None:
    job = JobDirectory.create("train", "Flowers & é", {"HyperParameters": {}}, tmp_path)
    assert job.name.startswith("train-Flowers-")
    assert all((job.path / folder).is_dir() for folder in FOLDERS)
    assert job.state.status == "Pending"
    assert [p.name for p in tmp_path.iterdir()] == [job.name]
    with pytest.raises(JobError, match="There is a job named") as caught:
        JobDirectory.create("train", "x", {}, tmp_path, job.name)
    assert f"vizsla jobs rm {job.name}" in str(caught.value.do)


def test_names_made_in_the_same_moment_differ(tmp_path: Path) -> None:
    names = {JobDirectory.create("train", "x", {}, tmp_path).name for _ in range(30)}
    assert len(names) == 30
    assert len(job_name("train", "n" * 200)) <= 63


def test_states_follow_one_another(tmp_path: Path) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path)
    job.set_state("InProgress")
    assert (job.state.attempts, bool(job.state.started)) == (1, True)
    job.set_state("Failed", "why")
    assert (job.state.reason, bool(job.state.ended)) == ("why", True)
    job.set_state("InProgress")
    assert (job.state.attempts, job.state.ended, job.state.reason) == (2, None, None)
    job.set_state("Completed")
    with pytest.raises(JobError, match="A job that is Completed cannot become InProgress") as caught:
        job.set_state("InProgress")
    assert caught.value.where == str(job.path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "Odd", "created": "", "updated": ""}'])
def test_a_damaged_state_is_an_error_in_words(tmp_path: Path, content: str) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path)
    (job.path / "state.json").write_text(content)
    with pytest.raises(JobError, match="The state of a job cannot be read"):
        JobDirectory.open(job.path)


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    lock = ControllerLock(tmp_path)
    with pytest.raises(JobError, match=f"controlled by another process .process {os.getpid()}"):
        ControllerLock(tmp_path, patience=0)
    assert take(tmp_path) is None
    lock.release()
    again = take(tmp_path)
    assert again is not None
    again.release()


def test_a_job_in_this_process_keeps_its_state(tmp_path: Path) -> None:
    with running_here("explain", "x", {}, home=tmp_path) as job:
        assert job.state.status == "InProgress"
        assert Process(int(job.state.pid or 0), job.state.pid_started).alive
        assert take(job.path) is None
    assert job.state.status == "Completed"
    with pytest.raises(ZeroDivisionError), running_here("explain", "y", {}, home=tmp_path) as failed:
        _ = 1 / 0
    assert failed.state.status == "Failed"
    assert failed.failure.read_text() == "ZeroDivisionError: division by zero"
    with resuming_here(failed):
        assert (failed.state.status, failed.state.attempts) == ("InProgress", 2)
    assert failed.state.status == "Completed"


def test_a_number_given_out_again_is_not_the_old_process() -> None:
    me = Process.of(os.getpid())
    assert me.alive
    assert me.started is None or not Process(me.pid, me.started - 1).alive


def test_opt_ml_as_a_link_for_one_job_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "opt-ml"
    monkeypatch.setattr(isolate, "OPT_ML", place)
    first, second = (JobDirectory.create("train", name, {}, tmp_path / "runs").path for name in ("a", "b"))
    place.mkdir()
    isolate.link(first)
    assert place.resolve() == first
    lock = ControllerLock(first)
    with pytest.raises(OSError, match=f"it is that of job '{first.name}' now"):
        isolate.link(second)
    lock.release()
    isolate.link(second)
    assert place.resolve() == second
    isolate.unlink(first)
    assert place.is_symlink()
    isolate.unlink(second)
    assert not place.exists()
    place.mkdir()
    (place / "model").mkdir()
    with pytest.raises(OSError, match="not empty"):
        isolate.link(first)
