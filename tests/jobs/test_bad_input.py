"""Scripts that cannot go well: each ends in words."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, metrics_of, run_to_end, source_of, wait_for
from vizsla.errors import JobError, StorageError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.processes import Process


def test_a_script_that_does_not_exist(tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec) -> None:
    spec = script_spec("print(1)")
    folder = source_of(spec)
    (folder / "train.py").rename(folder / "other.py")
    with pytest.raises(JobError, match=r"There is no script 'train.py'") as caught:
        executor.submit(spec, "nothing")
    assert "other.py" in str(caught.value.allowed)
    assert not (tmp_path / "runs").exists(), "nothing is left behind"


def test_a_script_that_exits_3(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    handle = executor.submit(script_spec("import sys; print('bye'); sys.exit(3)"), "three")
    state, _ = run_to_end(executor, handle)
    assert (state.status, state.exit_code, state.reason) == ("Failed", 3, "exit code 3; last line: bye")


def test_the_last_lines_of_the_traceback_are_the_reason(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = "def load():\n    raise KeyError('learning rate')\nprint('x' * 9000)\nload()"
    handle = executor.submit(script_spec(text), "trace")
    state, _ = run_to_end(executor, handle)
    assert state.reason == "KeyError: 'learning rate' (exit code 1)"
    failure = (handle.path / "output" / "failure").read_text()
    assert "Traceback (most recent call last)" in failure
    assert 'train.py", line 2, in load' in failure
    assert "xxx" not in failure


def test_the_reason_is_kept_also_where_the_script_has_cleared_its_results(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = """
        import os, shutil
        while os.path.exists(os.environ["SM_OUTPUT_DIR"]):  # the profiler may write there just now
            shutil.rmtree(os.environ["SM_OUTPUT_DIR"], ignore_errors=True)
        raise KeyError("b")
    """
    handle = executor.submit(script_spec(text), "x")
    assert run_to_end(executor, handle)[0].status == "Failed"
    job = JobDirectory.open(handle.path)
    assert "KeyError: 'b'" in job.failure.read_text()
    shutil.rmtree(job.path)
    with pytest.raises(StorageError):
        job.write_failure("exit code 1")
    assert not job.path.exists()


def test_a_script_that_writes_its_own_failure(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import os, sys
        open(os.path.join(os.environ["SM_OUTPUT_DIR"], "failure"), "w").write("No pictures of class 3.\\nMore.")
        sys.exit(1)
    """
    handle = executor.submit(script_spec(text), "own")
    state, _ = run_to_end(executor, handle)
    assert state.reason == "No pictures of class 3. (exit code 1)"
    assert (handle.path / "output" / "failure").read_text() == "No pictures of class 3.\nMore."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("raise MemoryError('no room for 9 GB')", "it ran out of memory (exit code 1): MemoryError: no room for 9 GB"),
        ("print('skipped 3 pictures: out of memory'); raise KeyError('a')", "KeyError: 'a' (exit code 1)"),
        (
            "print('out of memory? No space left on device? no.'); import sys; sys.exit(3)",
            "exit code 3; last line: out",
        ),
        (
            "import sys, traceback\ntry: raise MemoryError\nexcept MemoryError: traceback.print_exc()\n"
            "print('gives up', file=sys.stderr); sys.exit(3)",
            "exit code 3; last line: gives up",
        ),
        (
            "import os\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('my words')\nraise MemoryError",
            "my words (exit code 1)",
        ),
        ("class Stop(Exception): pass\nraise Stop('no data')", "Stop: no data (exit code 1)"),
        ("import os; os.abort()", "it crashed: native code gave up (SIGABRT)"),
        ("import ctypes; ctypes.string_at(0)", "it crashed: a segmentation fault in native code (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 15)", "it was asked to end (SIGTERM) by someone else than its controller"),
        ("import os; os.kill(os.getpid(), 40)", "it was ended by signal 40"),
        (
            "import os; os.mkdir(os.environ['SM_OUTPUT_DIR'] + '/failure'); raise KeyError('b')",
            "KeyError: 'b' (exit code 1)",
        ),
        ("import sys; sys.exit(7)", "it ended with exit code 7 and said nothing"),
    ],
)
def test_ends_in_words(executor: LocalExecutor, script_spec: MakeSpec, text: str, words: str) -> None:
    state, _ = run_to_end(executor, executor.submit(script_spec(text), "end"))
    assert state.status == "Failed"
    assert str(state.reason).startswith(words)


def test_no_line_of_a_log_ends_the_job(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        print('{"name": "lr", "value": 0.25, "step": Infinity}')
        print('{"name": "lr", "value": ' + "9" * 400 + ', "step": 1}')
        print('{"name": ' + "[" * 100_000)
        print('{"name": "lr", "value": 0.5, "step": 2}')
    """
    state, events = run_to_end(executor, executor.submit(script_spec(text), "odd"))
    assert state.status == "Completed", state.reason
    assert metrics_of(events)[-1] == ("lr", 0.5)


STOPPED = """
    import os, signal, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    def save(*_):
        time.sleep(0.5)
        with open(os.environ["SM_MODEL_DIR"] + "/child", "w") as file: file.write(str(child.poll()))
        sys.exit(0)
    signal.signal(signal.SIGTERM, save)
    print("ready", flush=True)
    while True: time.sleep(0.1)
"""


def test_a_stop_leaves_the_workers_of_a_script_to_the_script(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    """PyTorch takes the end of a loader's worker by SIGTERM for a crash of the training loop."""
    handle = executor.submit(script_spec(STOPPED), "workers")
    wait_for(lambda: executor.poll([handle]) and (handle.path / "logs.txt").exists() and
             "ready" in (handle.path / "logs.txt").read_text())  # fmt: skip
    executor.stop(handle, grace=20)
    run_to_end(executor, handle)
    assert (handle.path / "model" / "child").read_text() == "None", "it ran on while the script saved"


def test_asked_twice_to_stop_the_shorter_patience_counts(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready", flush=True)
        time.sleep(600)
    """
    handle = executor.submit(script_spec(text), "twice")
    wait_for(lambda: executor.poll([handle]) and (handle.path / "logs.txt").exists() and
             "ready" in (handle.path / "logs.txt").read_text())  # fmt: skip
    executor.stop(handle, grace=600)
    executor.stop(handle, grace=0)
    state, _ = run_to_end(executor, handle, 20)
    assert state.status == "Stopped"


def test_a_job_that_fills_the_disk_can_be_stopped(small_disk: Path, script_spec: MakeSpec) -> None:
    text = """
        import os, time
        print("ready", flush=True)
        with open(os.environ["SM_MODEL_DIR"] + "/much", "wb", buffering=0) as file:
            while True:
                try: file.write(b"x" * 4096)
                except OSError: break
        print("full", flush=True)
        time.sleep(600)
    """
    executor = LocalExecutor(small_disk / "runs", cpus=2)
    handle = executor.submit(script_spec(text), "full")
    wait_for(lambda: executor.poll([handle]) and os.statvfs(small_disk).f_bavail == 0)
    executor.stop(handle, grace=1)
    state, _ = run_to_end(executor, handle, 30)
    assert state.status in ("Stopped", "Failed")
    executor.close()


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path, script_spec: MakeSpec) -> None:
    text = """
        print("first line")
        for i in range(40_000):
            print(f"line {i:06} " + "x" * 88)
            if i == 20_000: print("Testing Loss: 0.5")
        print("last line")
    """
    executor = LocalExecutor(tmp_path / "runs", cpus=2, log_bytes=(100_000, 100_000))
    handle = executor.submit(script_spec(text, metrics={"loss": "Testing Loss: ([0-9.]+)"}), "long")
    state, events = run_to_end(executor, handle)
    assert state.status == "Completed"
    log = (handle.path / "logs.txt").read_text()
    assert 150_000 < len(log) < 201_000
    assert log.startswith("first line\nline 000000")
    assert log.endswith("last line\n")
    assert "bytes of the log left out here]" in log
    assert metrics_of(events) == [("loss", 0.5)], "found in what was left out"
    assert not list((handle.path / ".run").glob("tail.*"))


@pytest.mark.slow
def test_two_gigabytes_of_log_are_cut_to_64_mb(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import sys
        block = ("y" * 99 + "\\n") * 10_000
        for i in range(2_000): sys.stdout.write(block)
        print("Testing Loss: 0.125")
    """
    handle = executor.submit(script_spec(text, metrics={"loss": "Testing Loss: ([0-9.]+)"}), "two")
    state, events = run_to_end(executor, handle, 300)
    assert state.status == "Completed"
    assert (handle.path / "logs.txt").stat().st_size < 66 << 20
    assert metrics_of(events) == [("loss", 0.125)]


def test_over_its_time_it_is_stopped(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    text = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.8), sys.exit()))
        time.sleep(60)
    """
    handle = executor.submit(script_spec(text, limit=1), "slow")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Stopped"
    assert "ran longer than StoppingCondition.MaxRuntimeInSeconds allows (1 s)" in str(state.reason)


def test_an_expression_without_end_does_not_disable_the_time_limit(
    executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    text = "import time\nwhile True: print('a' * 60, 'x=1', flush=True); time.sleep(0.1)"
    handle = executor.submit(script_spec(text, metrics={"endless": r"(a+a+)+b", "x": r"x=(\d)"}, limit=2), "endless")
    state, events = run_to_end(executor, handle)
    assert "it ran longer than" in str(state.reason)
    assert len([value for name, value in metrics_of(events) if name == "x"]) > 5
    assert "[vizsla: metric 'endless' is not looked for any longer" in (handle.path / "logs.txt").read_text()


def test_children_that_a_script_leaves_behind_are_ended(
    tmp_path: Path, executor: LocalExecutor, script_spec: MakeSpec
) -> None:
    pids = tmp_path / "pids"
    text = f"""
        import os, subprocess, sys
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleep)
        daemon = subprocess.Popen(sleep, start_new_session=True)
        open({str(pids)!r}, "w").write(f"{{child.pid}} {{daemon.pid}}")
    """
    handle = executor.submit(script_spec(text), "forks")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed"
    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: not Process.of(pid).alive)


def test_hyperparameters_reach_the_script_as_they_were(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    values = {
        "spaces": "a b  c ",
        "quotes": 'it\'s "quoted"',
        "newlines": "one\ntwo\r\n",
        "dollar": "$HOME `ls` \\ * é 日本",
        "quoted-number": '"7"',
        "empty": "",
        "lr": "0.010",
        "flag": True,
        "list": [1, 2],
    }
    text = "import json, os, sys; print(json.dumps([sys.argv[1:], json.loads(os.environ['SM_HPS'])]))"
    handle = executor.submit(script_spec(text, values), "odd")
    state, _ = run_to_end(executor, handle)
    assert state.status == "Completed", state.reason
    arguments, hps = json.loads((handle.path / "logs.txt").read_text())
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert given == {f"--{k}": v for k, v in values.items() if isinstance(v, str)} | {
        "--flag": "True",
        "--list": "[1, 2]",
    }
    assert hps["spaces"] == values["spaces"]
    assert hps["lr"] == 0.01
