"""Jobs of a bucket on nodes that share no path."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import vizsla

from tests.conftest import free_port, start_s3
from tests.serving.conftest import write_model
from vizsla.jobs import bucket as buckets
from vizsla.jobs.conformance.scripts import Scripts, run_to_end, says, stop_all, wait_for
from vizsla.jobs.conformance.suite import ExecutorConformance
from vizsla.jobs.executors import open_executor
from vizsla.jobs.executors.base import Executor
from vizsla.models.export import ExportedBackbone

HOME = "s3://other/runs"
EPOCHS = """
    import json, os, pathlib, time
    folder = pathlib.Path(os.environ["VIZSLA_JOB_DIR"], "checkpoints")
    done = max([int(p.stem) for p in folder.glob("*.txt")], default=0)
    print("begins after", done, flush=True)
    for epoch in range(done + 1, 6):
        print(json.dumps({"name": "epoch", "value": epoch}), flush=True)
        (folder / f"{epoch}.txt").write_text("done")
        while epoch == 3 and not os.path.exists(GO): time.sleep(0.05)
    pathlib.Path(os.environ["SM_MODEL_DIR"], "w.bin").write_text("w")
"""


@pytest.fixture
def server(tmp_path: Path, ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an S3 server, whose bucket is the home; nodes have its keys in their environment."""
    port = free_port()
    process = start_s3(tmp_path / "s3", port)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("VIZSLA_HOME", HOME)
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / "a"))
    buckets.opened.cache_clear()
    yield tmp_path / "s3"
    process.terminate()
    process.wait(10)


@pytest.fixture
def script_spec(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def executor(server: Path) -> Iterator[Executor]:
    made = open_executor("ray")
    yield made
    stop_all(made)


class TestRayInBucket(ExecutorConformance):
    """The whole suite once more."""

    @pytest.fixture
    def executor(self, server: Path) -> Executor:
        return open_executor("ray")


@pytest.fixture
def hosts() -> Iterator[contextlib.ExitStack]:
    """Nodes that end with the test."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_nodes_that_share_no_path(
    executor: Executor,
    script_spec: Scripts,
    tmp_path: Path,
    ray_cluster: Any,
    hosts: contextlib.ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log is read from another machine while it runs, and its node dies in the middle."""
    go = tmp_path / "go"
    for cpus in (5, 6):
        hosts.enter_context(ray_cluster.apart(cpus, tmp_path / "machines" / "a", tmp_path / f"node-{cpus}.txt"))
    handle = executor.submit(script_spec(EPOCHS.replace("GO", repr(str(go))), instance="local-5cpu"), "moves")
    wait_for(lambda: says(executor, handle, "begins after 0"))
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / "b"))
    buckets.opened.cache_clear()
    wait_for(lambda: "epoch (last)             3" in vizsla("jobs", "show", handle.name).stdout)
    assert "begins after 0" in vizsla("jobs", "logs", handle.name).stdout
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / "a"))
    time.sleep(5)  # its third checkpoint is in the bucket by now
    (start,) = [json.loads(line) for line in (handle.path / ".run" / "ray-starts.jsonl").read_text().splitlines()]
    os.kill(start["pid"], signal.SIGKILL)
    go.touch()
    state, events = run_to_end(executor, handle, 120)
    assert (state.status, state.attempts) == ("Completed", 1)
    assert [event.metric.value for event in events if hasattr(event, "metric")] == [1, 2, 3, 4, 5], "every epoch once"
    assert "restart 1 of 3" in executor.logs(handle)[0]
    assert (executor.fetch(handle, "model") / "w.bin").read_text() == "w"


def test_credentials_that_expire_while_a_job_runs(executor: Executor, script_spec: Scripts, server: Path) -> None:
    text = "import time\nfor i in range(12):\n    print('line', i, flush=True)\n    time.sleep(1)\n"
    handle = executor.submit(script_spec(text), "expires")
    wait_for(lambda: says(executor, handle, "line 1"))
    (server / "expired").touch()
    threading.Timer(14, (server / "expired").unlink).start()  # somebody logs in again
    state, _ = run_to_end(executor, handle, 90)
    assert state.status == "Completed"
    assert executor.logs(handle)[0].splitlines()[-1] == "line 11", "nothing is lost"


def test_the_commands(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "source" / "t.py"  # which is copied whole
    script.parent.mkdir()
    script.write_text("import time\nprint('up', flush=True)\ntime.sleep(600)\n")
    asked = [sys.executable, "-m", "vizsla", "train", "--script", str(script), "--executor", "ray", "--name", "mine"]
    controller = subprocess.Popen([*asked, "--instance-type", "local-1cpu"], stderr=subprocess.PIPE, text=True)
    assert controller.stderr is not None
    assert any("up" in line for line in controller.stderr)
    controller.kill()
    controller.wait()
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / "b"))
    buckets.opened.cache_clear()
    (row,) = json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"]
    assert (row["name"], row["status"]) == ("mine", "InProgress")
    stopped = vizsla("jobs", "stop", "mine", "--grace", "1")
    assert "mine is Stopped: stopped by `vizsla jobs stop`" in stopped.stderr
    assert "up\n" in vizsla("jobs", "logs", "-f", "mine").stdout
    assert vizsla("jobs", "rm", "mine").returncode == 0


@pytest.mark.slow
def test_another_attempt_finds_the_channels_of_the_first(server: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (server / "buckets" / "photos" / "set").mkdir(exist_ok=True)
        (server / "buckets" / "photos" / "set" / name).write_text("x")
    script = tmp_path / "source" / "t.py"
    script.parent.mkdir()
    script.write_text(
        "import os, pathlib\nprint(sorted(os.listdir(os.environ['SM_CHANNEL_TRAINING'])), flush=True)\n"
        "done = pathlib.Path(os.environ['VIZSLA_JOB_DIR'], 'checkpoints', 'done')\n"
        "first = not done.exists(); done.touch(); assert not first\n"
    )
    asked = ("train", "--script", script, "--data", "s3://photos/set", "--executor", "ray", "--name", "mine")
    assert vizsla(*asked, "--instance-type", "local-1cpu").returncode == 1
    again = vizsla("jobs", "resume", "mine")
    assert again.returncode == 0, again.stderr
    assert vizsla("jobs", "logs", "mine").stdout.count("['a.txt', 'b.txt']") == 2


def test_a_search_of_a_script(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "source" / "hpo.py"
    script.parent.mkdir()
    script.write_text(
        "import argparse\np = argparse.ArgumentParser(); p.add_argument('--lr', type=float)\n"
        "print(f'loss={abs(p.parse_args().lr - 0.3)}', flush=True)\n"
    )
    (tmp_path / "data").mkdir()
    said = vizsla(
        *("tune", f"training={tmp_path / 'data'}", "lr=0.1,0.3,0.5", "--script", script, "--name", "search"),
        *("--metric", r"loss=loss=([\d.e-]+)", "--minimize", "--strategy", "grid", "--executor", "ray"),
        *("--trials", 3, "--json"),
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1])["tuning"]["BestHyperParameters"]["lr"] == 0.3
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "machines" / "b"))
    buckets.opened.cache_clear()
    jobs = json.loads(vizsla("jobs", "list", "--json").stdout)["jobs"]
    assert {job["status"] for job in jobs} == {"Completed"}
    assert len(jobs) == 4


def test_the_answers_of_a_transform_go_to_the_bucket(
    server: Path, tmp_path: Path, folder_of_photos: Callable[..., Path], tiny_backbone: ExportedBackbone
) -> None:
    shutil.copytree(folder_of_photos({"red": 6, "green": 5}), server / "buckets" / "photos" / "set")
    model = write_model(tmp_path / "model", tiny_backbone, classes=("blue", "green", "red"))
    said = vizsla("transform", model, "s3://photos/set", "--executor", "ray", "--name", "answers", "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout.splitlines()[-1])
    assert (told["inputs"], told["failed"], told["output"]) == (11, 0, f"{HOME}/answers/answers")
    assert len(list((server / "buckets" / "other" / "runs" / "answers" / "answers").rglob("*.out"))) == 11


@pytest.mark.usefixtures("no_room")
@pytest.mark.slow
def test_a_model_of_the_bucket_is_found_on_a_node_that_shares_no_path(
    server: Path, tmp_path: Path, ray_cluster: Any, folder_of_photos: Callable[..., Path], hosts: contextlib.ExitStack
) -> None:
    photos = folder_of_photos({"red": 20, "green": 20})
    shutil.copytree(photos, server / "buckets" / "photos" / "set")
    trained = vizsla("fit", photos, "--backbone", "test_resnet", "--random-init", "--name", "trained")
    assert trained.returncode == 0, trained.stderr
    hosts.enter_context(ray_cluster.apart(5, tmp_path / "machines" / "a", tmp_path / "node.txt"))
    said = vizsla("transform", "trained", "s3://photos/set", "--executor", "ray", "--name", "answers", "--json")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout.splitlines()[-1])
    assert (told["model"], told["inputs"], told["failed"]) == ("trained", 40, 0)


def test_features_of_nodes_are_in_the_bucket_for_all_machines(
    server: Path, tmp_path: Path, folder_of_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = folder_of_photos({"red": 40, "green": 40})
    monkeypatch.setenv("VIZSLA_CACHE", "s3://other/cache")
    told = []
    for machine, executor in (("submits", "ray"), ("comes-later", "local")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / machine))
        network = ["--backbone", "test_resnet", "--random-init", "--name", machine]
        done = vizsla("fit", photos, *network, "--executor", executor, "--json")
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout.splitlines()[-1]))
    assert [result["computed"] for result in told] == [80, 0]
    assert told[0]["metrics"]["accuracy"] == told[1]["metrics"]["accuracy"]
    assert list((server / "buckets/other/cache").rglob("*.features"))
