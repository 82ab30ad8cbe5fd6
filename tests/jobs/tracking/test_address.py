"""Where jobs are recorded: what can be meant, what is off, what is told of a password in it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end
from vizsla.errors import UsageError
from vizsla.jobs import recorder, tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor


def test_off_records_nothing(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    run_to_end(executor, executor.submit(script_spec("print(1)"), "x"))
    assert not (executor.home / ".tracking").exists()
    with pytest.raises(UsageError, match="Tracking is off"):
        tracking.prepare_ui(executor.home, None, 5000)


def test_passwords_are_kept_to_their_owner(
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, home = "http://me:se/cr@t@127.0.0.1:9", tmp_path / "runs"
    job = JobDirectory.create("train", "x", {}, home, "mine")
    monkeypatch.setenv("VIZSLA_TRACKING", uri)
    tracking.begin(job)
    note = job.run / tracking.NOTE
    assert (json.loads(note.read_text())["uri"], note.stat().st_mode & 0o777) == (uri, 0o600)
    recorder._keep_error(job, uri, ValueError(f"no answer from {uri}/api"))
    kept = (job.run / tracking.ERROR).read_text()
    assert "cr@t" not in kept
    assert tracking.error_of(job) == json.loads(kept)
    assert json.loads(kept)["error"] == "ValueError: no answer from http://me:***@127.0.0.1:9/api"
    with pytest.raises(UsageError) as caught:
        tracking.check_tracking_uri("htp://me:secret@x", "x")
    assert "secret" not in str(caught.value)


def test_addresses_that_cannot_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    for said, well in (("", True), ("none", True), ("OFF", True), ("http://x:5000", True), ("localhost:5000", False)):
        monkeypatch.setenv("VIZSLA_TRACKING", said)
        with contextlib.nullcontext() if well else pytest.raises(UsageError, match="at 'localhost:5000'") as caught:
            tracking.check_setting()
    assert caught.value.where == "VIZSLA_TRACKING"
    for uri in ("off", "http://127.0.0.1:5000", "sqlite:///x.db", "postgresql+psycopg2://u@h/db", "./mlruns", "file:x"):
        assert tracking.check_tracking_uri(uri, "x") == uri
    for uri in ("htp://127.0.0.1:5000", "127.0.0.1:5000", "localhost", "s3://bucket/x"):
        with pytest.raises(UsageError, match="Jobs cannot be recorded at"):
            tracking.check_tracking_uri(uri, "x")
