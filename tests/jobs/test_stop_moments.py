"""Stops asked for at the worst moment: none is lost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.errors import JobError, StorageError
from vizsla.files import write_json
from vizsla.jobs import attempt as attempts
from vizsla.jobs import here
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.handover import Command
from vizsla.jobs.processes import Process

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


def test_a_stop_while_the_job_is_just_starting(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = executor.submit(script_spec(SLEEPER), "early")

    def slow(path: Path, value: Any) -> None:
        log = handle.path / "logs.txt"  # when it has words in it, its supervisor has looked for a stop
        wait_for(lambda: log.exists() and "up" in log.read_text())
        write_json(path, value)

    monkeypatch.setattr(attempts, "write_json", slow)
    executor.stop(handle, grace=30)
    monkeypatch.undo()
    state, _ = run_to_end(executor, handle, seconds=20)
    assert state.status == "Stopped"


def test_a_stop_from_elsewhere_in_the_moment_a_waiting_job_gets_its_turn(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = attempts.start

    def asked_before(job: JobDirectory, command: Command) -> object:
        attempts.request_stop(job, 30, "not needed")
        return start(job, command)

    monkeypatch.setattr(attempts, "start", asked_before)
    handle = executor.submit(script_spec(SLEEPER), "turn")
    state, _ = run_to_end(executor, handle, seconds=20)
    assert state.status == "Stopped"
    assert str(state.reason).startswith("not needed (stopped on request")


def test_a_stop_before_a_job_of_this_process_has_written_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asked(Process):
        @classmethod
        def of(cls, pid: int) -> Process:
            (path,) = (path for path in tmp_path.iterdir() if not path.name.startswith("."))
            job = JobDirectory.open(path)
            attempts.request_stop(job, 30, "not needed")
            return Process.of(pid)

    monkeypatch.setattr(here, "Process", Asked)
    with pytest.raises(JobError, match="was stopped: not needed"), here.running_here("fit", "x", {}, home=tmp_path):
        raise AssertionError("it ran")


def test_a_new_attempt_is_not_stopped_by_what_was_asked_of_the_last(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    once = "import os, time; first = not os.path.exists('x'); open('x', 'w').close(); first and time.sleep(600)"
    handle = executor.submit(script_spec(once), "again")
    wait_for(lambda: (handle.path / "code" / "x").exists())
    executor.stop(handle, grace=30)
    assert run_to_end(executor, handle)[0].status == "Stopped"
    assert run_to_end(executor, executor.resume(handle))[0].status == "Completed"


def test_nothing_runs_that_its_controller_could_not_write_down(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(job: JobDirectory, status: str, *args: object, **facts: object) -> None:
        time.sleep(0.3)  # time enough to start, for one that did not wait
        raise StorageError("The disk is full.", where=job.path)

    with monkeypatch.context() as patch:
        patch.setattr(JobDirectory, "set_state", full)
        handle = executor.submit(script_spec(f"open({str(tmp_path / 'ran')!r}, 'w').close()"), "unwritten")
    state, _ = run_to_end(executor, handle, seconds=20)
    assert (state.status, state.reason) == ("Failed", "it could not be started: The disk is full.")
    time.sleep(0.3)
    assert not (tmp_path / "ran").exists()
    assert not (handle.path / ".run" / "process.json").exists()


def test_a_job_that_is_just_starting_is_alive(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = executor.submit(script_spec(SLEEPER), "starting")
    job, load = JobDirectory(handle.path), attempts.load
    wait_for(lambda: (job.run / "process.json").exists())

    def a_moment_before(path: Path) -> dict[str, Any] | None:
        return None if path.name == "process.json" else load(path)

    monkeypatch.setattr(attempts, "load", a_moment_before)
    assert attempts.is_alive(job, job.state)
    monkeypatch.undo()
