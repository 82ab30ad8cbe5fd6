"""``vizsla ui``: the pages, and what they see of jobs that run."""

from __future__ import annotations

import json
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
from tests.jobs.tracking.conftest import recorded
from vizsla.jobs import tracking
from vizsla.jobs.executors.local import LocalExecutor

mlflow = pytest.importorskip("mlflow")


def test_a_running_job_is_recorded_while_somebody_looks(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None, tmp_path: Path
) -> None:
    """Nobody looks: the job has the machine to itself. ``vizsla ui`` comes: the run is there, and goes on."""
    text = f"""
        import os, time, vizsla
        vizsla.log_metric("loss", 0.5, step=1)
        while not os.path.exists({str(tmp_path / "end")!r}): time.sleep(0.02)
        vizsla.log_metric("loss", 0.25, step=2)
    """
    handle = executor.submit(script_spec(text, name="seen"), "x")
    wait_for(lambda: (handle.path / "metrics.jsonl").exists())
    look = "import sys, pathlib; from vizsla.jobs.tracking import keep_up; keep_up(pathlib.Path(sys.argv[1])); input()"
    with subprocess.Popen([sys.executable, "-c", look, str(executor.home)], stdin=subprocess.PIPE) as looking:
        wait_for(lambda: "run" in json.loads((handle.path / ".run" / tracking.NOTE).read_text()), 60)
        client = mlflow.MlflowClient(tracking.tracking_uri(executor.home))
        (run,) = client.search_runs(["1"])
        assert (run.info.run_name, run.info.status) == ("seen", "RUNNING")
        wait_for(lambda: client.get_run(run.info.run_id).data.metrics == {"loss": 0.5})
        (tmp_path / "end").touch()
        run_to_end(executor, handle)
        looking.communicate(b"\n")
    recorded(executor.home)
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.25}


def test_the_pages_and_the_recorder_may_begin_at_once(tmp_path: Path) -> None:
    """Both make the tables of the same new database."""
    home, uri = tmp_path / "runs", f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    home.mkdir()
    begin = "import pathlib, sys; home = pathlib.Path(sys.argv[1]); "
    pages = begin + "from vizsla.jobs.tracking import prepare_ui; prepare_ui(home, sys.argv[2], 5000)"
    recorder = begin + "from vizsla.jobs.recorder import Recorder; Recorder(sys.argv[2], home)"
    both = [subprocess.Popen([sys.executable, "-c", text, str(home), uri]) for text in (pages, recorder)]
    assert [process.wait(120) for process in both] == [0, 0]
    names = {experiment.name for experiment in mlflow.MlflowClient(uri).search_experiments()}
    assert names == {"Default", "vizsla"}


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
