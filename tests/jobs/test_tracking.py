"""Every job is an MLflow run, written beside the controller."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from commandline import vizsla

from tests.jobs.conftest import MakeSpec, run_to_end, wait_for
from vizsla.errors import UsageError
from vizsla.jobs import recorder, tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.here import running_here
from vizsla.jobs.lock import ControllerLock
from vizsla.jobs.recorder import Recorder, SyncCounts, sync
from vizsla.jobs.states import State

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's in which nothing is recorded yet; to make one takes seconds."""
    made = tmp_path_factory.mktemp("tables") / "mlflow.db"
    recorder.make_database(f"sqlite:///{made}")
    return made


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch, tables: Path, tmp_path: Path) -> None:
    """Tracking as a user has it, but for the time in which the ends of trials are gathered."""
    monkeypatch.delenv("VIZSLA_TRACKING")
    monkeypatch.setattr(tracking, "_GATHER_SECONDS", 0.0)
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copy(tables, tmp_path / "runs" / "mlflow.db")


def recorded(home: Path) -> None:
    """Wait until nothing is left to record."""
    wait_for(lambda: not list(tracking.due(home)), 300)


def test_jobs_become_runs_with_parameters_metrics_results_and_parents(
    executor: LocalExecutor, script_spec: MakeSpec, tracked: None
) -> None:
    home = executor.home
    with running_here("tune", "search", {"TrainingJobDefinition": {}}, name="parent", home=home) as parent:
        for turn in range(2):
            text = f"""
                import os, sys, vizsla
                for step in range(3): vizsla.log_metric("loss: a/b %", 1 / (step + 1), step=step)
                open(os.environ["SM_MODEL_DIR"] + "/w", "w").write("w")
                open(os.environ["SM_OUTPUT_DIR"] + "/report.html", "w").write("<p>")
                sys.exit({turn})
            """
            handle = executor.submit(
                script_spec(text, {"lr": 0.5, "note": "a 'b'\n"}, name=f"trial-{turn}"), "x", parent="parent"
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


def test_off_records_nothing(executor: LocalExecutor, script_spec: MakeSpec) -> None:
    run_to_end(executor, executor.submit(script_spec("print(1)"), "x"))
    assert not (executor.home / ".tracking").exists()
    with pytest.raises(UsageError, match="Tracking is off"):
        tracking.prepare_ui(executor.home, None, 5000)


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


def test_a_name_used_again_is_a_run_of_its_own(tmp_path: Path, tables: Path) -> None:
    home = tmp_path / "runs"
    writer = Recorder(f"sqlite:///{shutil.copy(tables, tmp_path / 'mlflow.db')}", home)
    for status in ("Failed", "Completed"):
        job = JobDirectory.create("train", "x", {"HyperParameters": {"lr": status}}, home, "mine")
        job.set_state("InProgress")
        job.set_state(status)
        assert writer.record(job).has_ended
        shutil.rmtree(job.path)
    runs = writer.client.search_runs([writer.experiment])
    assert sorted((run.info.status, run.data.params["lr"]) for run in runs) == [
        ("FAILED", "Failed"),
        ("FINISHED", "Completed"),
    ]


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process records by itself."""
    monkeypatch.setattr(tracking, "_sync_soon", lambda home, delay: None)


def test_a_resumed_job_stays_at_its_address_and_a_changed_one_gets_a_run_there(
    tmp_path: Path, tracked: None, tables: Path, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "runs"
    first, second = (f"sqlite:///{shutil.copy(tables, tmp_path / name)}" for name in ("first.db", "second.db"))
    job = JobDirectory.create("train", "x", {}, home, "mine")
    lock_of_job = ControllerLock(job.path)  # as a job within this process
    monkeypatch.setenv("VIZSLA_TRACKING", first)
    tracking.begin(job)
    job.set_state("InProgress", pid=os.getpid())
    job.append_metric("m", 1.0)
    job.close()
    assert sync(home, running=True) == SyncCounts(running=1)
    monkeypatch.setenv("VIZSLA_TRACKING", second)
    tracking.begin(job)
    assert json.loads((job.run / tracking.NOTE).read_text())["uri"] == first
    job.set_state("Completed")
    lock_of_job.release()
    other = Recorder(second, home)  # somebody has it recorded there all the same
    assert other.record(job).has_ended
    (run,) = other.client.search_runs([other.experiment])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"m": 1.0})


def test_a_sync_done_again_changes_nothing_and_keeps_to_its_address(
    tmp_path: Path, tracked: None, tables: Path, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "runs"
    places = {name: f"sqlite:///{shutil.copy(tables, tmp_path / f'{name}.db')}" for name in ("first", "second")}
    for name, uri in (*places.items(), ("never", "off")):
        monkeypatch.setenv("VIZSLA_TRACKING", uri)
        job = JobDirectory.create("train", "x", {}, home, name)
        tracking.begin(job)
        job.set_state("Failed", "exit code 1")
    assert [job.name for job in tracking.due(home)] == ["first", "second"]
    assert sync(home, places["first"]) == SyncCounts()
    assert [job.name for job in tracking.due(home)] == ["second"]
    recorded: list[str] = []
    monkeypatch.setattr(Recorder, "_end", lambda writer, job, state, run: recorded.append(job.name))
    for _ in range(2):
        sync(home)
    assert recorded == ["second"]
    assert not list(tracking.due(home))


def test_runs_of_an_earlier_version_are_not_written_again(tmp_path: Path, tracked: None) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path, "old")
    job.set_state("Failed", "exit code 1")
    note = {"run": "0" * 32, "metrics": 0, "attempt": 1, "uri": "sqlite:///x.db", "names": {}}
    (job.run / tracking.NOTE).write_text(json.dumps(note))
    assert not list(tracking.due(tmp_path))


def test_a_job_that_is_resumed_while_its_end_is_recorded(
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, end = tmp_path / "runs", Recorder._end
    job = JobDirectory.create("train", "x", {}, home, "mine")
    tracking.begin(job)
    job.set_state("InProgress", pid=os.getpid())
    job.set_state("Failed", "exit code 1")

    def slow_end(writer: Recorder, of: JobDirectory, state: State, run: str) -> None:
        end(writer, of, state, run)
        if state.status == "Failed":
            job.set_state("Pending")
            tracking.begin(job)
            job.set_state("InProgress", pid=os.getpid())
            job.set_state("Completed")

    monkeypatch.setattr(Recorder, "_end", slow_end)
    sync(home)
    assert [left.name for left in tracking.due(home)] == ["mine"]
    sync(home)
    client = mlflow.MlflowClient(tracking.tracking_uri(home))
    (run,) = client.search_runs(["1"])
    assert (run.info.status, run.data.tags["vizsla.status"]) == ("FINISHED", "Completed")
    assert not list(tracking.due(home))


def test_a_job_that_is_removed_while_it_is_recorded_does_not_come_back(
    tmp_path: Path, tracked: None, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, parent = tmp_path / "runs", Recorder._parent
    job = JobDirectory.create("train", "x", {}, home, "mine")
    tracking.begin(job)
    job.set_state("Failed", "exit code 1")

    def slow_parent(writer: Recorder, of: JobDirectory) -> dict[str, str]:
        shutil.rmtree(of.path)  # after its state was read, before the note is written
        return parent(writer, of)

    monkeypatch.setattr(Recorder, "_parent", slow_parent)
    assert sync(home) == SyncCounts()
    assert not job.path.exists()
    JobDirectory.create("train", "x", {}, home, "mine")


def test_one_syncs_and_one_waits(tmp_path: Path) -> None:
    """Who waits sees all that happens until it begins: nobody else needs to."""
    waiting = tracking.take_turn(tmp_path)
    assert waiting is not None
    assert tracking.take_turn(tmp_path) is None
    os.close(waiting)
    again = tracking.take_turn(tmp_path)
    assert again is not None
    os.close(again)


@pytest.mark.parametrize("name", ["50%20?", "a?b=c#d"])
def test_jobs_may_lie_in_any_folder(tmp_path: Path, tracked: None, name: str) -> None:
    home = tmp_path / name
    job = JobDirectory.create("train", "x", {}, home, "mine")
    job.set_state("Failed", "exit code 1")
    uri = tracking.tracking_uri(home)
    assert uri is not None
    assert Recorder(uri, home).record(job).has_ended
    assert (home / "mlflow.db").is_file()
    assert list((home / "mlartifacts").rglob("job.json"))


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
        executor_job(executor, script_spec)
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
            if str(home).encode() in words and b"vizsla.jobs.recorder" in words:
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
