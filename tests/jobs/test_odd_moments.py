"""What a second process, a copy, an earlier attempt or an odd number does to a job."""

from __future__ import annotations

import os
import shutil
import signal
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.errors import JobError, StorageError
from vizsla.jobs import attempt as attempts
from vizsla.jobs import controller, removal, tracking
from vizsla.jobs.controller import executor_of
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.lock import ControllerLock
from vizsla.jobs.processes import Process
from vizsla.jobs.states import State

GRACEFUL = """
    import signal, sys, time
    signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(0)))
    print("up", flush=True)
    time.sleep(600)
"""


def is_up(handle: Handle, times: int = 1) -> bool:
    """Whether the script has begun so often."""
    log = handle.path / "logs.txt"
    return log.exists() and log.read_text().count("up") == times


def test_a_stop_beside_a_resume_reaches_the_new_attempt(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = executor.submit(script_spec(GRACEFUL), "both")
    wait_for(lambda: is_up(handle))
    job = JobDirectory(handle.path)
    found = attempts.running(job, 1)
    assert found is not None
    executor.close()
    os.kill(found.supervisor, signal.SIGKILL)
    wait_for(lambda: not Process(found.supervisor, found.supervisor_started).alive)
    ends: list[State] = []
    stopper = threading.Thread(target=lambda: ends.append(executor_of(job).end(Handle.of(job), grace=20)))
    set_state, request_stop, is_resumed = JobDirectory.set_state, attempts.request_stop, threading.Event()

    def asked_meanwhile(of: JobDirectory, *args: Any, **facts: Any) -> State:
        if stopper.ident is None:  # just before the end of the first attempt is written: the stop is meant for that
            stopper.start()
            wait_for(lambda: (of.run / "stop.json").exists())
        return set_state(of, *args, **facts)

    def slow_request(*args: Any) -> None:
        request_stop(*args)
        is_resumed.wait(30)

    monkeypatch.setattr(JobDirectory, "set_state", asked_meanwhile)
    monkeypatch.setattr(attempts, "request_stop", slow_request)
    executor.resume(handle)
    is_resumed.set()
    state, _ = run_to_end(executor, handle)
    stopper.join()
    assert (state.status, state.attempts) == ("Stopped", 2)
    assert [end.status for end in ends] == ["Stopped"]
    assert state.exit_code in (0, -signal.SIGTERM)  # perhaps before the script had a handler, but never SIGKILL


def test_a_waiting_job_behind_another_is_stopped(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handles = [executor.submit(script_spec("import time; time.sleep(600)", instance="local"), name) for name in "abc"]
    attempts.request_stop(JobDirectory(handles[2].path), 30, "not needed")  # as another process does
    executor.poll(handles)
    states = [JobDirectory(handle.path).state for handle in handles]
    assert [state.status for state in states] == ["InProgress", "Pending", "Stopped"]
    assert states[2].reason == "not needed"


def test_a_copy_of_a_running_job_is_not_that_job(
    executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path
) -> None:
    handle = executor.submit(script_spec(GRACEFUL), "original")
    wait_for(lambda: is_up(handle))
    copy = JobDirectory(tmp_path / "elsewhere" / handle.name)
    shutil.copytree(handle.path, copy.path, symlinks=True)
    with pytest.raises(JobError, match="is Failed already: there is nothing to stop"):
        executor_of(copy).end(Handle.of(copy), grace=0)
    executor.poll([handle])
    found = attempts.running(JobDirectory(handle.path), 1)
    assert found is not None
    assert Process(found.supervisor, found.supervisor_started).alive
    assert "saved" not in (handle.path / "logs.txt").read_text()


def test_a_moved_job_is_still_that_job(executor: LocalExecutor, script_spec: MakeSpec, tmp_path: Path) -> None:
    handle = executor.submit(script_spec(GRACEFUL), "moving")
    wait_for(lambda: is_up(handle))
    moved = handle.path.rename(tmp_path / "moved")
    assert attempts.running(JobDirectory(moved), 1) is not None
    moved.rename(handle.path)


def test_numbers_too_large_for_the_system(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec(GRACEFUL, limit=99_999_999_999), "patient")
    wait_for(lambda: is_up(handle))
    executor.stop(handle, grace=1e300)
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.exit_code) == ("Stopped", 0)
    assert (handle.path / "logs.txt").read_text() == "up\nsaved\n"


SAVES = """
    import os, pathlib, signal, sys, time
    model = pathlib.Path(os.environ["SM_MODEL_DIR"]) / "weights"
    if not model.exists():
        signal.signal(signal.SIGTERM, lambda *_: (model.write_text("first"), sys.exit(0)))
        print("up", flush=True)
        time.sleep(600)
    LAST
"""


@pytest.mark.parametrize("last", ["model.write_text('second')", "model.unlink()"])
def test_an_archive_is_that_of_its_own_attempt(executor: LocalExecutor, script_spec: MakeSpec, last: str) -> None:
    handle = executor.submit(script_spec(SAVES.replace("LAST", last)), "twice")
    wait_for(lambda: is_up(handle))
    executor.stop(handle, grace=30)
    run_to_end(executor, handle)
    output = handle.path / "output"
    os.utime(output / "model.tar.gz", (4e9, 4e9))  # as if the clock had been set back since
    state, _ = run_to_end(executor, executor.resume(handle))
    assert state.status == "Completed"
    with tarfile.open(output / "previous.model.tar.gz") as archive:
        assert archive.extractfile("weights").read() == b"first"  # type: ignore[union-attr]
    if "unlink" in last:
        assert not (output / "model.tar.gz").exists()
        return
    with tarfile.open(output / "model.tar.gz") as archive:
        assert archive.extractfile("weights").read() == b"second"  # type: ignore[union-attr]


def test_a_folder_in_the_place_of_the_failure_hides_no_end(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "import os, sys; os.makedirs(os.environ['SM_OUTPUT_DIR'] + '/failure/x', exist_ok=True); sys.exit(2)"
    handle = executor.submit(script_spec(text), "odd")
    run_to_end(executor, handle)
    state = JobDirectory(handle.path).state
    assert (state.status, state.exit_code) == ("Failed", 2)
    run_to_end(executor, executor.resume(handle))
    assert JobDirectory(handle.path).state.attempts == 2


def test_a_killed_search_is_resumed_as_a_search(tmp_path: Path) -> None:
    trials = {"HyperParameters": {"sagemaker_program": "a.py", "sagemaker_submit_directory": "."}}
    document = {"HyperParameterTuningJobConfig": {}, "TrainingJobDefinition": trials}
    job = JobDirectory.create("tune", "x", document, tmp_path, "search")
    job.set_state("InProgress", pid=2**22 + 1, pid_started=1.0)
    state = attempts.settle(job)
    assert "`vizsla tune resume search` goes on" in str(state.reason)
    with pytest.raises(JobError, match="is of the kind tune, which is no single process here") as caught:
        LocalExecutor(tmp_path, cpus=1).resume(Handle("search", job.path))
    assert caught.value.do == "`vizsla tune resume search`"


@pytest.mark.parametrize("whole", [True, False])
def test_a_job_whose_folder_is_removed_by_hand_ends_and_troubles_no_other(
    executor: LocalExecutor, script_spec: MakeSpec, whole: bool
) -> None:
    removed = executor.submit(script_spec(GRACEFUL, name="removed"), "x")
    other = executor.submit(script_spec(GRACEFUL, name="other"), "x")
    waiting = executor.submit(script_spec(GRACEFUL, name="waiting"), "x")
    wait_for(lambda: is_up(removed) and is_up(other))
    processes = attempts.running(JobDirectory(removed.path), 1)
    assert processes is not None
    if whole:
        wait_for(lambda: shutil.rmtree(removed.path, ignore_errors=True) or not removed.path.exists())
    else:
        (removed.path / "state.json").unlink()
    shutil.rmtree(waiting.path)
    executor.poll([other])
    wait_for(lambda: not Process(processes.group, processes.group_started).alive)
    wait_for(lambda: not Process(processes.supervisor, processes.supervisor_started).alive)
    assert executor.capacity().free_cpus == 1
    again = executor.submit(script_spec(GRACEFUL, name="waiting"), "x")
    wait_for(lambda: is_up(again))
    assert executor.state(other).status == "InProgress"


def test_a_job_that_is_damaged_by_hand_troubles_no_other(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    damaged = executor.submit(script_spec(GRACEFUL, name="damaged"), "x")
    state = (damaged.path / "state.json").read_bytes()
    (damaged.path / "state.json").write_text("{")
    other = executor.submit(script_spec("print('up')", name="other"), "x")
    assert run_to_end(executor, other)[0].status == "Completed"
    with pytest.raises(JobError, match="cannot be read"):
        executor.state(damaged)
    (damaged.path / "state.json").write_bytes(state)
    assert executor.state(damaged).status == "InProgress"


def test_a_waiting_job_that_is_damaged_by_hand_troubles_no_other(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    first = executor.submit(script_spec(GRACEFUL, name="first", instance="local"), "x")
    damaged = executor.submit(script_spec(GRACEFUL, name="damaged", instance="local"), "x")
    (damaged.path / "state.json").write_text("{")
    other = executor.submit(script_spec("print('up')", name="other", instance="local"), "x")
    wait_for(lambda: is_up(first))
    executor.stop(first)
    assert run_to_end(executor, other)[0].status == "Completed"
    shutil.rmtree(damaged.path)


def test_a_job_that_began_again_is_not_removed(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = executor.submit(script_spec("import sys; sys.exit(1)"), "begun")
    run_to_end(executor, handle)
    job, take = JobDirectory(handle.path), removal.take

    def begun_meanwhile(path: Path) -> ControllerLock | None:
        job.set_state("InProgress")
        return take(path)

    monkeypatch.setattr(removal, "take", begun_meanwhile)
    with monkeypatch.context() as patch:
        patch.setattr(attempts, "settle", lambda of, conclude: of.state)  # its own process is there
        with pytest.raises(JobError, match="is InProgress: it cannot be removed"):
            executor_of(job).remove(Handle.of(job))
    assert (job.path / "job.json").exists()


@pytest.mark.parametrize("file", ["state.json", "job.json"])
def test_a_damaged_job_is_removed_unless_it_runs(executor: LocalExecutor, script_spec: MakeSpec, file: str) -> None:
    handle = executor.submit(script_spec(GRACEFUL), "damaged")
    wait_for(lambda: is_up(handle))
    whole = (handle.path / file).read_text()
    (handle.path / file).write_text("{")
    job = controller.find(handle.name, executor.home, damaged=True)
    with pytest.raises(JobError, match="is InProgress: it cannot be removed"):
        executor_of(job).remove(Handle.of(job))
    (handle.path / file).write_text(whole)
    executor.stop(handle, grace=30)
    run_to_end(executor, handle)
    (handle.path / file).write_text("{")
    executor.remove(handle)
    assert not handle.path.exists()


def test_a_job_that_is_removed_while_somebody_looks(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec("print(1)"), "gone")
    run_to_end(executor, handle)
    job = JobDirectory.open(handle.path)
    executor.remove(handle)
    with pytest.raises(JobError, match="was just removed"):
        executor_of(job).end(Handle.of(job))


def test_a_job_shares_out_its_own_share(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(
        script_spec("from vizsla.jobs.executors.local import LocalExecutor as L; print(L().cpus)"), "x"
    )
    run_to_end(executor, handle)
    assert (handle.path / "logs.txt").read_text() == "1\n"


def test_nothing_is_left_of_a_job_for_which_no_share_can_be_taken(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    shutil.rmtree(executor.home / ".slots", ignore_errors=True)
    executor.home.mkdir(exist_ok=True)
    (executor.home / ".slots").touch()
    with pytest.raises(StorageError):
        executor.submit(script_spec("print(1)"), "x")
    assert [path.name for path in executor.home.iterdir()] == [".slots"]
    (executor.home / ".slots").unlink()
    assert executor.capacity().waiting == 0


def test_a_job_of_another_user_is_shown_as_it_stands(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = executor.submit(script_spec(GRACEFUL), "theirs")

    def refused(path: Path) -> None:
        raise StorageError("Cannot write here: Permission denied.", where=path)

    with monkeypatch.context() as patch:
        patch.setattr(attempts, "take", refused)
        assert attempts.settle(JobDirectory(handle.path)).status == "InProgress"


def test_a_job_that_never_ran_is_recorded(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(tracking, "begin", begun.append)
    handles = [executor.submit(script_spec("import time; time.sleep(600)", instance="local"), name) for name in "ab"]
    assert [job.path for job in begun] == [handles[0].path]
    executor.stop(handles[1])
    assert [job.path for job in begun] == [handle.path for handle in handles]
