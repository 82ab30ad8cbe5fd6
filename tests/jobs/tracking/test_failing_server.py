"""A server that records nothing: others are recorded all the same, and the job tells why it is not."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import threading
from collections.abc import Iterator

import pytest
from commandline import vizsla

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from tests.jobs.tracking.conftest import recorder_of
from vizsla.jobs import tracking
from vizsla.jobs.executors.local import LocalExecutor

mlflow = pytest.importorskip("mlflow")


@contextlib.contextmanager
def failing_server() -> Iterator[str]:
    """A server that answers every question with an error."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(507, "the disk of the server is full")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_fails_holds_no_other_job_up(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = executor.home
    with failing_server() as address:
        monkeypatch.setenv("VIZSLA_TRACKING", address)
        bad = executor.submit(script_spec("print(1)", name="a-bad-one"), "x")
        run_to_end(executor, bad)
        monkeypatch.setenv("VIZSLA_TRACKING", "")
        run_to_end(executor, executor.submit(script_spec("print(1)", name="good"), "x"))
        error = bad.path / ".run" / "tracking-error.json"
        wait_for(lambda: [job.name for job in tracking.due(home)] == ["a-bad-one"] and error.exists(), 300)
        pid = recorder_of(home)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    assert [run.info.run_name for run in client.search_runs(["1"])] == ["good"]
    shown = vizsla("jobs", "show", bad.path).stdout
    assert "not recorded" in shown
    assert address in shown
    assert "the disk of the server is full" in shown
