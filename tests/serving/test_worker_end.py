"""The end of a process that runs a model's own code, with all that the code has started, however it comes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from patience import come, has_ended

if TYPE_CHECKING:
    from conftest import Running


def test_what_own_code_started_ends_with_it(serving: Callable[..., Running], code_model: Path) -> None:
    server = serving(str(code_model), "--allow-code")
    child = server.say("child")[1]["mean"]
    assert Path(f"/proc/{child}").exists()
    assert server.stop() == 0
    assert come(lambda: has_ended(child))


def test_what_own_code_started_ends_also_when_its_process_dies_unasked(
    serving: Callable[..., Running], code_model: Path
) -> None:
    server = serving(str(code_model), "--allow-code")
    child, worker = server.say("child")[1]["mean"], server.say("pid")[1]["mean"]
    os.kill(worker, signal.SIGKILL)
    assert come(lambda: has_ended(child))
    assert come(lambda: server.say("pid")[0] == 200)


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_ends_when_its_server_is_killed(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path, busy: bool
) -> None:
    server = serving(str(code_model), "--allow-code")
    child, worker = server.say("child")[1]["mean"], server.say("pid")[1]["mean"]
    with server.send(f"until {tmp_path / 'go'}") if busy else contextlib.nullcontext():
        assert not busy or come((tmp_path / "go.begun").exists)
        server.process.kill()
        server.process.wait(60)
        assert come(lambda: has_ended(worker))
        assert come(lambda: has_ended(child))


def test_a_worker_that_starts_ends_when_its_server_is_killed(serving: Callable[..., Running], tmp_path: Path) -> None:
    code = tmp_path / "slow" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text("import os, time\ndef model_fn(d): print('pid', os.getpid(), '.'); time.sleep(300)")
    server = serving("--models-dir", str(tmp_path), "--allow-code")
    with server.send("x", "x-amzn-sagemaker-target-model: slow"):
        assert come(lambda: " .\n" in server.log_file.read_text())
        server.process.kill()
        server.process.wait(60)
    worker = int(server.log_file.read_text().rpartition("pid ")[2].split()[0])
    assert come(lambda: has_ended(worker))


def test_what_a_killed_server_has_unpacked_is_removed_by_the_next(
    serving: Callable[..., Running], code_model: Path, tmp_path: Path
) -> None:
    """And nothing of one that lives."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    living = serving(str(code_model), "--allow-code", TMPDIR=str(temporary))
    kept = list(temporary.iterdir())
    killed = serving(str(code_model), "--allow-code", TMPDIR=str(temporary))
    killed.process.kill()
    killed.process.wait(60)
    assert len(list(temporary.glob("vizsla-code-*"))) == 2
    serving("--models-dir", str(tmp_path / "own"), "--allow-code", TMPDIR=str(temporary))
    assert come(lambda: list(temporary.iterdir()) == kept)
    assert (kept[0] / "model" / "scale.txt").read_text() == "2.0"
    assert living.stop() == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("leaves", [False, True])
def test_a_death_is_told_though_another_process_holds_the_pipe(
    serving: Callable[..., Running], tmp_path: Path, leaves: bool
) -> None:
    """Also one that has left the worker's group, and lives."""
    code = tmp_path / "own" / "code" / "inference.py"
    code.parent.mkdir(parents=True)
    code.write_text(
        f"""
import os, time
def model_fn(model_dir): return 0
def transform_fn(model, body, content_type, accept):
    if body != b"die": return "[1]"
    child = os.fork()
    if not child:
        if {leaves}: os.setsid()
        open({str(tmp_path / "left")!r}, "w").close()
        time.sleep(300)
    open({str(tmp_path / "child")!r}, "w").write(str(child))
    while not os.path.exists({str(tmp_path / "left")!r}): time.sleep(0.01)
    os._exit(3)
"""
    )
    server = serving(str(tmp_path / "own"), "--allow-code")
    try:
        status, document = server.say("die")
        assert (status, document["ErrorCode"]) == (500, "code-died")
        assert document["Message"] == "The process of the model's code ended (exit code 3)."
        assert server.say("x") == (200, [1])
        child = int((tmp_path / "child").read_text())
        assert leaves or come(lambda: has_ended(child))
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)
