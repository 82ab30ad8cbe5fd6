"""Every job is an MLflow run, written beside the controller."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.errors import UsageError
from vizsla.jobs import tracking
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.here import running_here

mlflow = pytest.importorskip("mlflow")


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracking as a user has it."""
    monkeypatch.delenv("VIZSLA_TRACKING")


def recorded(home: Path) -> None:
    """Wait until nothing is left to record."""
    wait_for(lambda: not list(tracking.waiting(home)), 90)


def test_jobs_become_runs_with_parameters_metrics_results_and_parents(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None
) -> None:
    home = executor.home
    with running_here("tune", "search", {"HyperParameters": {"trials": "2"}}, name="parent", home=home) as parent:
        for turn in range(2):
            text = f"""
                import os, sys, vizsla
                for step in range(3): vizsla.log_metric("loss: a/b %", 1 / (step + 1), step=step)
                open(os.environ["SM_MODEL_DIR"] + "/w", "w").write("w")
                open(os.environ["SM_OUTPUT_DIR"] + "/report.html", "w").write("<p>")
                sys.exit({turn})
            """
            handle = executor.submit(
                script_spec(text, {"lr": 0.5, "note": "a 'b'\n"}, name=f"trial-{turn}"), "x", about={"parent": "parent"}
            )
            run_to_end(executor, handle)
    parent.append_metric("best", 0.5)
    parent.close()
    recorded(home)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    (experiment,) = [e for e in client.search_experiments() if e.name == "vizsla"]
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"parent", "trial-0", "trial-1"}
    assert {name: run.info.status for name, run in runs.items()} == {
        "parent": "FINISHED",
        "trial-0": "FINISHED",
        "trial-1": "FAILED",
    }
    trial = runs["trial-0"]
    assert (trial.data.params["lr"], trial.data.params["note"]) == ("0.5", "a 'b'\n")
    history = client.get_metric_history(trial.info.run_id, "loss: a/b _")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert trial.data.tags["vizsla.parent"] == "parent"
    assert trial.data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert {"report.html", "job.json"} <= {a.path for a in client.list_artifacts(trial.info.run_id)}
    assert "exit code 1" in runs["trial-1"].data.tags["vizsla.reason"]


def test_off_records_nothing(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    run_to_end(executor, executor.submit(script_spec("print(1)"), "x"))
    assert not (executor.home / ".tracking").exists()
    with pytest.raises(UsageError, match="Tracking is off"):
        tracking.ui_command(executor.home, None, 5000)


@pytest.mark.slow
def test_a_killed_recorder_loses_nothing(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills the recorder while it imports and writes; the notes stay and the next job's recorder goes on."""
    home = executor.home
    run_to_end(executor, executor.submit(script_spec("import vizsla; vizsla.log_metric('m', 1)", name="first"), "x"))
    for pause in (0.5, 2.0):
        pid = wait_for(lambda: recorder_of(home))
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(["sleep", "60"], timeout=pause, check=False)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: not os.path.exists(f"/proc/{pid}") or recorder_of(home) != pid)
        tracking.announce(executor_job(executor, script_spec))
    recorded(home)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    names = [run.info.run_name for run in client.search_runs(["1"])]
    assert sorted(set(names)) == sorted(names), "no run twice"
    assert "first" in names


def executor_job(executor: LocalExecutor, script_spec: MakeSpec) -> object:
    """Another small job."""
    from vizsla.jobs.directory import JobDirectory

    handle = executor.submit(script_spec("print(1)"), "next")
    run_to_end(executor, handle)
    return JobDirectory(handle.path)


def recorder_of(home: Path) -> int | None:
    """The process that records ``home``."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(home).encode() in words and (b"vizsla.jobs.recorder" in words or b"-S" in words):
                return int(entry.name)
    return None


@pytest.mark.slow
def test_ui_serves_the_pages_on_this_machine_only(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None, tmp_path: Path
) -> None:
    """Starts the real server and asks it for its page and for the runs."""
    run_to_end(executor, executor.submit(script_spec("print(1)", name="seen"), "x"))
    recorded(executor.home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "vizsla", "ui", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def page() -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    try:
        assert b"MLflow" in wait_for(page, 90)
        client = mlflow.MlflowClient(f"http://127.0.0.1:{port}")
        assert [run.info.run_name for run in client.search_runs(["1"])] == ["seen"]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
