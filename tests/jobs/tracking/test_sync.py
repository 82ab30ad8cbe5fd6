"""Recording is a sync: done again it changes nothing, and what happens meanwhile is in the next one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from tests.jobs.tracking.conftest import recorded
from vizsla.jobs import tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.lock import ControllerLock
from vizsla.jobs.recorder import Recorder, SyncCounts, sync
from vizsla.jobs.states import State

mlflow = pytest.importorskip("mlflow")


def test_a_resumed_job_stays_at_its_address_and_a_changed_one_gets_a_run_there(
    tmp_path: Path, tracked: None, tables: Path, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "runs"
    first, second = (f"sqlite:///{shutil.copy(tables, tmp_path / name)}" for name in ("first.db", "second.db"))
    job = JobDirectory.create("train", "x", {}, home, "mine")
    lock_of_job = ControllerLock(job.path)  # as a job within this process
    monkeypatch.setenv("VIZSLA_TRACKING", first)
    tracking.begin(job)
    job.set_state("InProgress", pid=os.getpid())
    job.append_metric("m", 1.0)
    job.close()
    assert sync(home, running=True) == SyncCounts(running=1)
    monkeypatch.setenv("VIZSLA_TRACKING", second)
    tracking.begin(job)
    assert json.loads((job.run / tracking.NOTE).read_text())["uri"] == first
    job.set_state("Completed")
    lock_of_job.release()
    other = Recorder(second, home)  # somebody has it recorded there all the same
    assert other.record(job).has_ended
    (run,) = other.client.search_runs([other.experiment])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"m": 1.0})


def test_a_sync_done_again_changes_nothing_and_keeps_to_its_address(
    tmp_path: Path, tracked: None, tables: Path, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "runs"
    places = {name: f"sqlite:///{shutil.copy(tables, tmp_path / f'{name}.db')}" for name in ("first", "second")}
    for name, uri in (*places.items(), ("never", "off")):
        monkeypatch.setenv("VIZSLA_TRACKING", uri)
        job = JobDirectory.create("train", "x", {}, home, name)
        tracking.begin(job)
        job.set_state("Failed", "exit code 1")
    assert [job.name for job in tracking.due(home)] == ["first", "second"]
    assert sync(home, places["first"]) == SyncCounts()
    assert [job.name for job in tracking.due(home)] == ["second"]
    recorded: list[str] = []
    monkeypatch.setattr(Recorder, "_end", lambda writer, job, state, run: recorded.append(job.name))
    for _ in range(2):
        sync(home)
    assert recorded == ["second"]
    assert not list(tracking.due(home))


def test_a_job_that_is_resumed_while_its_end_is_recorded(
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, end = tmp_path / "runs", Recorder._end
    job = JobDirectory.create("train", "x", {}, home, "mine")
    tracking.begin(job)
    job.set_state("InProgress", pid=os.getpid())
    job.set_state("Failed", "exit code 1")

    def slow_end(writer: Recorder, of: JobDirectory, state: State, run: str) -> None:
        end(writer, of, state, run)
        if state.status == "Failed":
            job.set_state("Pending")
            tracking.begin(job)
            job.set_state("InProgress", pid=os.getpid())
            job.set_state("Completed")

    monkeypatch.setattr(Recorder, "_end", slow_end)
    sync(home)
    assert [left.name for left in tracking.due(home)] == ["mine"]
    sync(home)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    (run,) = client.search_runs(["1"])
    assert (run.info.status, run.data.tags["vizsla.status"]) == ("FINISHED", "Completed")
    assert not list(tracking.due(home))


def test_a_job_that_is_removed_while_it_is_recorded_does_not_come_back(
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, parent = tmp_path / "runs", Recorder._parent
    job = JobDirectory.create("train", "x", {}, home, "mine")
    tracking.begin(job)
    job.set_state("Failed", "exit code 1")

    def slow_parent(writer: Recorder, of: JobDirectory) -> dict[str, str]:
        shutil.rmtree(of.path)  # after its state was read, before the note is written
        return parent(writer, of)

    monkeypatch.setattr(Recorder, "_parent", slow_parent)
    assert sync(home) == SyncCounts()
    assert not job.path.exists()
    JobDirectory.create("train", "x", {}, home, "mine")


def test_one_syncs_and_one_waits(tmp_path: Path) -> None:
    """Who waits sees all that happens until it begins: nobody else needs to."""
    waiting = tracking.take_turn(tmp_path)
    assert waiting is not None
    assert tracking.take_turn(tmp_path) is None
    os.close(waiting)
    again = tracking.take_turn(tmp_path)
    assert again is not None
    os.close(again)


def recorder_of(home: Path) -> int | None:
    """The process that records ``home``."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(home).encode() in words and b"vizsla.jobs.recorder" in words:
                return int(entry.name)
    return None


@pytest.mark.slow
def test_a_killed_recorder_loses_nothing(executor: LocalExecutor, script_spec: MakeSpec, tracked: None) -> None:
    """Kills the recorder while it imports and writes; the notes stay and the next job's recorder goes on."""
    home = executor.home
    run_to_end(executor, executor.submit(script_spec("import vizsla; vizsla.log_metric('m', 1)", name="first"), "x"))
    for pause in (0.5, 2.0):
        pid = wait_for(lambda: recorder_of(home))
        time.sleep(pause)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}") or recorder_of(home) != pid)
        run_to_end(executor, executor.submit(script_spec("print(1)"), "next"))
    recorded(home)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    names = [run.info.run_name for run in client.search_runs(["1"])]
    assert sorted(set(names)) == sorted(names), "no run twice"
    assert "first" in names
