"""A server that records nothing: others are recorded all the same, and the job tells why it is not."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import vizsla

from vizsla.jobs import tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.recorder import SyncCounts, sync

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
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "runs"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with failing_server() as address:
        for name, uri in (("a-bad-one", address), ("good", "")):
            monkeypatch.setenv("VIZSLA_TRACKING", uri)
            job = JobDirectory.create("train", "x", {}, home, name)
            tracking.begin(job)
            job.set_state("Failed", "exit code 1")
        assert sync(home) == SyncCounts(failed=1)
    assert [job.name for job in tracking.due(home)] == ["a-bad-one"]
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    assert [run.info.run_name for run in client.search_runs(["1"])] == ["good"]
    shown = vizsla("jobs", "show", home / "a-bad-one").stdout
    assert "not recorded" in shown
    assert address in shown
    assert "the disk of the server is full" in shown
