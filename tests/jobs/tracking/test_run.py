"""A job as a run of MLflow: its parameters, metrics, results and parent."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.jobs.conftest import MakeSpec, run_to_end
from tests.jobs.tracking.conftest import recorded
from vizsla.jobs import tracking
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.executors.local import LocalExecutor
from vizsla.jobs.here import running_here
from vizsla.jobs.recorder import Recorder

mlflow = pytest.importorskip("mlflow")


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


def test_runs_of_an_earlier_version_are_not_written_again(tmp_path: Path, tracked: None) -> None:
    job = JobDirectory.create("train", "x", {}, tmp_path, "old")
    job.set_state("Failed", "exit code 1")
    note = {"run": "0" * 32, "metrics": 0, "attempt": 1, "uri": "sqlite:///x.db", "names": {}}
    (job.run / tracking.NOTE).write_text(json.dumps(note))
    assert not list(tracking.due(tmp_path))


@pytest.mark.parametrize("name", ["50%20?", "a?b=c#d"])
def test_jobs_may_lie_in_any_folder(tmp_path: Path, tracked: None, tables: Path, name: str) -> None:
    home = tmp_path / name
    job = JobDirectory.create("train", "x", {}, home, "mine")
    shutil.copy(tables, home / "mlflow.db")
    job.set_state("Failed", "exit code 1")
    uri = tracking.tracking_uri(home)
    assert uri is not None
    assert Recorder(uri, home).record(job).has_ended
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("SELECT name FROM runs").fetchall() == [("mine",)]
    assert list((home / "mlartifacts").rglob("job.json"))
