"""A batch transform whose inputs all cores of the cluster answer: the same bytes as on one machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from commandline import vizsla

from tests.conftest import free_port, start_s3
from tests.serving.conftest import write_model
from vizsla.jobs.directory import JobDirectory
from vizsla.models.export import ExportedBackbone


@pytest.fixture
def model(tmp_path: Path, tiny_backbone: ExportedBackbone) -> Path:
    return write_model(tmp_path / "model", tiny_backbone, seed=0, classes=("blue", "green", "red"))


@pytest.fixture
def photos(folder_of_photos: Callable[..., Path]) -> Path:
    folder = folder_of_photos({"red": 90, "blue": 90})
    (folder / "red" / "torn.jpg").write_bytes((folder / "red" / "000.jpg").read_bytes()[:300])
    return folder


def transformed(*arguments: object, code: int = 0) -> dict[str, Any]:
    said = vizsla("transform", *arguments, "--json")
    assert said.returncode == code, said.stderr
    return json.loads(said.stdout.splitlines()[-1])


def outputs(folder: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*.out"))}


def test_the_answers_are_those_of_one_machine(model: Path, photos: Path, ray_cluster: Any, tmp_path: Path) -> None:
    there = transformed(model, photos, "--executor", "ray", "--name", "there")
    here = transformed(model, photos, "--name", "here")
    assert (there["inputs"], there["failed"]) == (181, 1)
    assert outputs(there["output"]) == outputs(here["output"])
    job = JobDirectory.open(tmp_path / "runs" / "there")
    assert job.executor == "ray"
    journal = [json.loads(line)["input"] for line in (job.checkpoints / "journal.jsonl").read_text().splitlines()]
    assert journal == sorted(journal), "in the order of the inputs"


def test_a_table_is_that_of_one_machine(model: Path, photos: Path, ray_cluster: Any) -> None:
    tables = []
    for executor in ("ray", "local"):
        result = transformed(model, photos, "--executor", executor, "--table", "parquet")
        tables.append(pyarrow.parquet.read_table(result["output"]))
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == 181


def test_a_stopped_transform_goes_on_and_a_dead_node_costs_its_batch(
    model: Path, photos: Path, ray_cluster: Any, tmp_path: Path
) -> None:
    node = ray_cluster.add(2)
    killed = threading.Timer(6, lambda: ray_cluster.kill(node))
    killed.start()
    result = transformed(model, photos, "--executor", "ray", "--name", "dies")
    killed.join()
    assert (result["inputs"], result["failed"]) == (181, 1)
    assert len(outputs(result["output"])) == 181


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize(("hidden", "words"), [("photos", "The inputs"), ("answers", "The folder of the answers")])
@pytest.mark.slow
def test_a_folder_that_a_node_does_not_see(
    model: Path, photos: Path, ray_cluster: Any, tmp_path: Path, hidden: str, words: str
) -> None:
    """It would answer each input with an error, or keep the answers for itself."""
    with ray_cluster.apart(4, tmp_path / hidden, tmp_path / "node.txt"):
        said = vizsla("transform", model, photos, "--output", tmp_path / "answers", "--executor", "ray")
    assert said.returncode == 1
    assert f"{words} cannot be seen on node" in said.stderr
    assert "put them where all nodes see them at the same path, or into a bucket: s3://..." in said.stderr
    assert not list((tmp_path / "answers").rglob("*"))


@pytest.mark.slow
def test_a_bucket_that_is_full(
    model: Path, photos: Path, ray_cluster: Any, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    server = start_s3(small_disk, port)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    said = vizsla("transform", model, photos, "--output", "s3://other/answers", "--executor", "ray")
    server.terminate()
    server.wait(10)
    assert said.returncode == 1
    assert "The store is full." in said.stderr
    assert "make room there, then" in said.stderr
