"""What the local executor does beyond what all must do, proven with real processes that are really killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, metrics_of, run_to_end, wait_for
from vizsla.errors import JobError
from vizsla.jobs import attempt as attempts
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.isolate import enter_model
from vizsla.jobs.processes import Process
from vizsla.jobs.spec import TrainingJobSpec

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
COUNTS = """
    import json, os, pathlib, time
    folder = pathlib.Path(os.environ["VIZSLA_JOB_DIR"], "checkpoints")
    done = max([int(p.stem) for p in folder.glob("*.txt")], default=0)
    print("begins after", done, flush=True)
    for epoch in range(done + 1, 6):
        print(json.dumps({"name": "epoch", "value": epoch}), flush=True)
        (folder / f"{epoch}.txt").write_text("done")
        time.sleep(PAUSE)
"""


def group_of(handle: Handle) -> int:
    """The job's process group, once it runs."""
    job = JobDirectory(handle.path)
    found = wait_for(lambda: attempts.running(job, job.state.attempts))
    return int(found.group)


def says(handle: Handle, word: str) -> bool:
    """Whether the job's log holds ``word``."""
    log = handle.path / "logs.txt"
    return log.exists() and word in log.read_text()


def test_kill_9_of_the_job_is_a_failure_in_words(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec(SLEEPS), "killed")
    wait_for(lambda: says(handle, "up"))
    os.killpg(group_of(handle), signal.SIGKILL)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert state.exit_code == -9
    assert "it was killed (SIGKILL)" in str(state.reason)
    assert "it was killed" in (handle.path / "output" / "failure").read_text()


def test_kill_9_of_the_supervisor_takes_the_job_with_it(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec(SLEEPS), "orphan")
    wait_for(lambda: says(handle, "up"))
    group = Process.of(group_of(handle))
    os.kill(int(JobDirectory(handle.path).state.pid or 0), signal.SIGKILL)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert f"vizsla jobs resume {handle.name}" in str(state.reason)
    wait_for(lambda: not group.alive)


CONTROLLER = """
    import sys, time
    from pathlib import Path
    from vizsla.jobs.executors.local import LocalExecutor
    from vizsla.jobs.spec import TrainingJobSpec
    import json
    executor = LocalExecutor(Path(sys.argv[1]), cpus=2)
    handle = executor.submit(TrainingJobSpec.read(json.loads(sys.argv[2])), "orphan")
    print(handle.name, flush=True)
    while True:
        executor.poll([handle])
        time.sleep(0.05)
"""


def controller(home: Path, spec: TrainingJobSpec) -> tuple[subprocess.Popen[str], Handle]:
    """A controller in a process of its own, with one job."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CONTROLLER), str(home), json.dumps(spec.to_dict())],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    process.stdout.close()
    return process, Handle(name, home / name)


def test_kill_9_of_the_controller_leaves_the_job_running_and_another_takes_over(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    go = tmp_path / "go"
    spec = script_spec(
        f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)"
    )
    process, handle = controller(tmp_path / "runs", spec)
    wait_for(lambda: says(handle, "up"))
    group = Process.of(group_of(handle))
    process.kill()
    process.wait()
    time.sleep(0.2)
    assert group.alive
    assert attempts.settle(JobDirectory(handle.path)).status == "InProgress"
    executor.resume(handle)
    go.touch()
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    assert state.attempts == 1, "taken over, not started again"


def test_the_end_of_a_job_whose_controller_was_killed_is_found_later(tmp_path: Path, script_spec: MakeSpec) -> None:
    go = tmp_path / "go"
    text = f"import os, sys, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): time.sleep(0.02)\n"
    process, handle = controller(tmp_path / "runs", script_spec(text + "sys.exit(3)"))
    wait_for(lambda: says(handle, "up"))
    process.kill()
    process.wait()
    go.touch()
    wait_for(lambda: (handle.path / ".run" / "exit.json").exists())
    state = attempts.settle(JobDirectory(handle.path))
    assert (state.status, state.exit_code) == ("Failed", 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root may mount a small file system")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.decode()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_fails_the_job_in_words_and_what_was_finished_stays(
    small_disk: Path, script_spec: MakeSpec
) -> None:
    spec = script_spec(
        """
        import json, os, pathlib
        job = pathlib.Path(os.environ["VIZSLA_JOB_DIR"])
        for epoch in range(1, 3):
            (job / "checkpoints" / f"{epoch}.txt").write_text("done")
            print(json.dumps({"name": "epoch", "value": epoch}), flush=True)
        with open(job / "model" / "weights.bin", "wb") as file:
            while True:
                file.write(bytes(65536))
                file.flush()
        """
    )
    executor = LocalExecutor(small_disk / "runs", cpus=2)
    handle = executor.submit(spec, "full")
    state, events = run_to_end(executor, handle)
    assert state.status == "Failed"
    assert "the disk was full" in str(state.reason)
    assert "free some space and resume the job" in str(state.reason)
    assert metrics_of(events) == [("epoch", 1), ("epoch", 2)]
    assert JobDirectory.open(handle.path).state.status == "Failed", "there was room left to write it down"
    assert sorted(p.name for p in (handle.path / "checkpoints").iterdir()) == ["1.txt", "2.txt"]


def test_a_restart_goes_on_from_the_checkpoints(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec(COUNTS.replace("PAUSE", "0.2")), "restart")
    wait_for(lambda: (handle.path / "checkpoints" / "2.txt").exists())
    os.killpg(group_of(handle), signal.SIGKILL)
    state, _ = run_to_end(executor, handle)
    assert state.status == "Failed"
    done = len(list((handle.path / "checkpoints").iterdir()))
    executor.resume(handle)
    state, events = run_to_end(executor, handle)
    assert (state.status, state.attempts) == ("Completed", 2)
    assert says(handle, f"begins after {done}")
    assert [value for _, value in metrics_of(events)] == [1, 2, 3, 4, 5], "every epoch once"


def test_on_another_system_no_job_is_made_and_it_is_said_why(
    executor: LocalExecutor, script_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = script_spec("print('up')")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(JobError) as told:
        executor.submit(spec, "elsewhere")
    assert str(told.value).splitlines() == [
        "A job cannot be started on this system (darwin): its supervisor needs what only Linux has.",
        "  where: the local executor",
        "  allowed: Linux",
        "  do: use Linux, or a container of it; `vizsla check`, `fit`, `predict` and `serve` start no job, and "
        "executor='debug' runs one within its own process",
    ]
    assert not list(executor.home.glob("elsewhere*"))
    with pytest.raises(OSError, match="need Linux"):
        enter_model(executor.home)
