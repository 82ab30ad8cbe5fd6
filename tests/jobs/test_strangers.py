"""What ends a job ends its own processes and no others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.errors import JobError
from vizsla.files import write_json
from vizsla.jobs import attempt as attempts
from vizsla.jobs import controller
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.handover import Command, Processes
from vizsla.jobs.lock import ControllerLock, take
from vizsla.jobs.processes import Process, boot_id

GONE = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process group that has nothing to do with jobs."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("started", "boot"),
    [(None, None), (1.0, "now"), ("its", "another")],
    ids=["of an older version", "number given out again", "before a restart of the system"],
)
def test_a_reused_group_number_is_left_alone(
    tmp_path: Path, stranger: subprocess.Popen[bytes], started: float | str | None, boot: str | None
) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path)
    job.set_state("InProgress", pid=GONE, pid_started=1.0)
    leader = Process.of(stranger.pid).started if started == "its" else started
    running = Processes(1, GONE, 1.0, stranger.pid, leader, boot_id() if boot == "now" else boot)  # type: ignore[arg-type]
    write_json(job.run / "process.json", asdict(running))
    assert attempts.settle(job).status == "Failed"
    with pytest.raises(subprocess.TimeoutExpired):
        stranger.wait(0.2)


def test_a_child_with_a_session_of_its_own_ends_with_a_killed_supervisor(
    executor: LocalExecutor, script_spec: MakeSpec, stranger: subprocess.Popen[bytes]
) -> None:
    text = """
        import subprocess, time
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        print("child", child.pid, flush=True)
        time.sleep(600)
    """
    handle = executor.submit(script_spec(text), "sessions")
    log = handle.path / "logs.txt"
    words = wait_for(lambda: log.exists() and "\n" in log.read_text() and log.read_text().split())
    child = Process.of(int(words[1]))
    os.kill(int(JobDirectory(handle.path).state.pid or 0), signal.SIGKILL)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    wait_for(lambda: not child.alive)
    assert stranger.poll() is None


def test_a_wrong_path_is_not_a_job_of_the_same_name(tmp_path: Path) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path, "mine")
    for wrong in ("/any/wrong/path/mine", "elsewhere/mine", "./mine"):
        with pytest.raises(JobError, match="There is no job 'mine'"):
            controller.find(wrong, tmp_path)
    assert controller.find("mine", tmp_path) == controller.find(str(job.path), Path("nowhere")) == job


def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path)
    code = f"""
        import os, sys, time
        from pathlib import Path
        from vizsla.jobs.lock import ControllerLock
        lock = ControllerLock(Path({str(job.path)!r}))
        child = os.fork()
        if child == 0: time.sleep(600)
        print(child, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        time.sleep(0.1)
        assert take(job.path) is None, "the child's end of the file does not free the parent's lock"
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert Process.of(child).alive
        ControllerLock(job.path).release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_without_namespaces_a_link_is_opt_ml(tmp_path: Path, script_spec: MakeSpec) -> None:
    place = tmp_path / "opt-ml"
    job = JobDirectory.create("train", "x", {}, tmp_path / "runs")
    program = f"open({str(place / 'model' / 'w')!r}, 'w').write('weights')"
    argv = [sys.executable, "-c", program]
    command = Command(1, argv, False, str(job.path), {}, [], None, 1.0, True, 1 << 20, 1 << 20)
    write_json(job.run / "command.json", asdict(command))
    code = f"""
        from pathlib import Path
        from vizsla.jobs import isolate, supervisor
        def refused(job): raise PermissionError(1, "Operation not permitted")
        isolate.OPT_ML, supervisor.enter = Path({str(place)!r}), refused
        supervisor.main(Path({str(job.path)!r}))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], input=b".", check=True)
    assert json.loads((job.run / "exit.json").read_text())["code"] == 0, job.logs.read_text()
    assert (job.model / "w").read_text() == "weights"
    assert not place.is_symlink()
