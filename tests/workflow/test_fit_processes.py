"""A fit whose backbone trains in several processes: who writes what, and what is refused before there is a job."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.patience import come
from tests.workflow.test_fit_checkpoint import resume
from tests.workflow.test_fit_depth import LAST, Notes, request
from tests.workflow.test_train import same_result
from vizsla.errors import UsageError, VizslaError
from vizsla.workflow.document import from_spec, to_spec
from vizsla.workflow.fit import fit

Folder = Callable[..., Path]
SHARED = replace(LAST, processes=2)


def test_more_processes_than_cores_leave_no_job(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_THREADS", "2")
    with pytest.raises(UsageError, match="3 processes cannot train together here") as caught:
        fit(request(folder_of_photos({"red": 8, "green": 8}), head=replace(LAST, processes=3)))
    assert (caught.value.where, caught.value.allowed) == ("parameter processes", "1 to 2")
    assert not (tmp_path / "runs").exists()


def test_a_document_tells_where_it_trains(tmp_path: Path) -> None:
    again = from_spec(to_spec(request(tmp_path, head=SHARED, executor="ray")))
    assert (again.head, again.executor) == (SHARED, "ray")
    assert "executor" not in to_spec(request(tmp_path)).hyper_parameters


@pytest.mark.slow
def test_the_first_process_is_watched_and_a_killed_one_is_gone_on_without(
    folder_of_photos: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_THREADS", "2")
    data, notes = folder_of_photos({"red": 24, "green": 24}), Notes()
    asked = request(data, head=replace(SHARED, epochs=100))
    reference = fit(asked, notes).job
    losses = [json.loads(line) for line in (reference / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["name"] == "train_loss" for line in losses) == 100, "each once"
    assert list((reference / "output" / "debug").rglob("*"))
    facts = [json.loads(p.read_text()) for p in (reference / "output/profiler").rglob("framework/*.json")]
    assert [fact["rank"] for fact in facts if fact.get("optimizer")] == [0]
    killer = threading.Thread(target=kill_the_second, args=(tmp_path / "runs" / "mine" / "checkpoints",))
    killer.start()
    with pytest.raises(VizslaError, match=r"Process 2 of 2 that train together .* was lost"):
        fit(replace(asked, name="mine"))
    killer.join()
    assert "Training goes on after step " in resume(tmp_path / "runs" / "mine")
    same_result(tmp_path / "runs" / "mine", reference)


def kill_the_second(checkpoints: Path) -> None:
    """Kill the second process once there is something to go on from."""
    assert come(lambda: (checkpoints / "last.checkpoint").exists())
    for process in psutil.Process().children(recursive=True):
        if process.environ().get("RANK") == "1":
            os.kill(process.pid, signal.SIGKILL)
