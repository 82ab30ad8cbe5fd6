"""Versions in the registry: proven, approved, found by alias, refused where something is wrong."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from commandline import vizsla

from tests.conftest import free_port
from tests.serving.conftest import start
from vizsla.errors import ModelError
from vizsla.models.model import load
from vizsla.registry.files import digest, model_folder
from vizsla.registry.mlflow_store import MlflowStore
from vizsla.registry.package import ModelPackage
from vizsla.workflow.registration import register

Models = Callable[..., dict[str, Any]]


def test_a_training_is_registered_proven_and_loaded_by_mlflow(job: Path, models: Models) -> None:
    done = models("register", "colours", "--group", "colours", "--description", "the first one")
    assert (done["group"], done["version"], done["approval_status"]) == ("colours", 1, "PendingManualApproval")
    proof = done["proof"]
    assert proof["parties"] == ["evaluation", "saved model", "endpoint", "batch transform"]
    assert proof["pictures"] == len(_predictions(job))
    assert proof["same"] == 1
    assert 0 < proof["largest"] < 1e-5, "the evaluation's table has six digits"
    card = json.loads((job / "model" / "model.json").read_bytes())
    assert done["metrics"]["accuracy"] == card["metrics"]["accuracy"]
    lineage = done["lineage"]
    assert lineage["job"] == "colours"
    assert lineage["dataset_sha256"] == card["provenance"]["dataset_sha256"]
    assert Path(lineage["manifest"]).is_file()
    assert lineage["code"]["vizsla"] == card["provenance"]["versions"]["vizsla"]

    assert (
        models("approve", "colours/1", "--why", "it is good", "--alias", "champion")["approval_reason"] == "it is good"
    )
    (listed,) = models("list")["versions"]
    assert (listed["name"], listed["approval_status"], listed["aliases"]) == ("colours/1", "Approved", ["champion"])
    assert listed["approved_by"]
    assert models("show", "colours@champion")["changed"] is False
    assert models("list", "--status", "Rejected")["versions"] == []

    import mlflow
    import pandas

    mlflow.set_tracking_uri(f"sqlite:///{os.environ['VIZSLA_HOME']}/mlflow.db")
    door = mlflow.pyfunc.load_model("models:/colours@champion")
    picture = _a_photo(lineage)
    answer = door.predict(pandas.DataFrame({"image": [picture.read_bytes()]}))
    expected = load(job).predict(picture)
    assert answer["label"][0] == expected.label
    assert np.allclose(answer["probabilities"][0], expected.probabilities, atol=1e-7)
    assert door.metadata.signature.inputs.input_names() == ["image"]
    assert door.input_example is not None


def _a_photo(lineage: dict[str, Any]) -> Path:
    document = json.loads((Path(lineage["job_directory"]) / "job.json").read_bytes())["document"]
    root = Path(document["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("file://"))
    return sorted(root.rglob("*.jpg"))[0]


def _predictions(job: Path) -> list[dict[str, str]]:
    with open(job / "output" / "test-predictions.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_model_that_says_something_else_than_its_evaluation_is_refused(job: Path, models: Models) -> None:
    rows = _predictions(job)
    rows[1]["predicted"] = next(row["predicted"] for row in rows if row["predicted"] != rows[1]["predicted"])
    with open(job / "output" / "test-predictions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    words = models("register", "colours", "--group", "colours", code=1)["words"]
    assert "The model does not say the same everywhere (evaluation, saved model, endpoint, batch transform)" in words
    assert f"1 of {len(rows)} pictures differ" in words
    assert rows[1]["path"] in words
    assert models("list")["count"] == 0
    assert not list((Path(os.environ["VIZSLA_HOME"]) / "registry").glob(".*.tmp"))


def test_a_changed_file_is_refused_when_it_is_registered_and_when_it_is_approved(job: Path, models: Models) -> None:
    models("register", "colours", "--group", "colours")
    (kept,) = (Path(os.environ["VIZSLA_HOME"]) / "registry" / "colours").glob("*/model/head.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1] + b"\0")
    assert models("show", "colours/1")["changed"] is True
    words = models("approve", "colours/1", code=1)["words"]
    assert "The files of colours/1 are not those that were registered and proven" in words
    head = job / "model" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:-1] + b"\0")
    words = models("register", "colours", "--group", "colours", code=1)["words"]
    assert "head.safetensors is not the file that the model was saved with (its hash differs)." in words


def test_a_model_of_its_own_code_is_proven_between_endpoint_and_transform(
    models: Models, photos: Path, tmp_path: Path
) -> None:
    model = tmp_path / "own"
    (model / "code").mkdir(parents=True)
    (model / "code" / "inference.py").write_text(
        "import json\ndef model_fn(folder):\n    return None\n"
        "def transform_fn(model, body, content_type, accept):\n    return json.dumps({'bytes': len(body)}), accept\n"
    )
    named = ("register", model, "--group", "own", "--pictures", photos)
    assert "--allow-code" in models(*named, code=2)["words"]
    made = models(*named, "--allow-code")
    assert made["proof"] == {"parties": ["endpoint", "batch transform"], "pictures": 5, "same": 1.0, "largest": 0.0}
    # The number of a process is another one each time.
    (model / "code" / "inference.py").write_text(
        "import os\ndef model_fn(folder):\n    return None\n"
        "def transform_fn(model, body, content_type, accept):\n    return str(os.getpid()), accept\n"
    )
    words = models(*named, "--allow-code", code=1)["words"]
    assert "5 of 5 pictures differ" in words
    assert models("list")["count"] == 1


def test_pictures_that_are_gone_prove_nothing(job: Path, models: Models, two_models: tuple[Path, Path]) -> None:
    table = job / "output" / "test-predictions.csv"
    table.write_text(table.read_text().replace(".jpg", ".gone.jpg"))
    assert "held-out pictures are gone" in models("register", "colours", "--group", "g", code=1)["words"]
    words = models("register", two_models[0], "--group", "g", code=2)["words"]
    assert "Nothing proves this model" in words
    assert "--pictures photos/test" in words
    words = models("register", two_models[0], "--group", "g", "--pictures", "none", code=2)["words"]
    assert "Pictures that prove a model lie in a folder." in words


def test_what_is_not_there_is_said(models: Models, two_models: tuple[Path, Path], photos: Path) -> None:
    assert "There is no model package group 'none'." in models("approve", "none/1", code=1)["words"]
    models("register", two_models[0], "--group", "dogs", "--pictures", photos)
    words = models("approve", "dogs/7", code=1)["words"]
    assert "There is no version dogs/7." in words
    assert "allowed: dogs/1" in words
    assert "There is no version dogs@champion." in models("show", "dogs@champion", code=1)["words"]
    assert "names no version" in models("approve", "dogs/seven", code=2)["words"]
    assert "cannot be the name of a model package group" in models("register", "x", "--group", "a b", code=2)["words"]
    words = vizsla("serve", "models:/dogs/1", "--port", free_port()).stderr
    assert "dogs/1 is not approved: its status is PendingManualApproval." in words
    assert "vizsla models approve dogs/1" in words


def test_rejecting_takes_the_aliases_and_removing_the_files(
    models: Models, two_models: tuple[Path, Path], photos: Path
) -> None:
    for model in two_models:
        models("register", model, "--group", "dogs", "--pictures", photos)
    models("approve", "dogs/1", "--alias", "champion")
    assert "dogs/1 is dogs@champion: it may be served." in models("rm", "dogs/2", "dogs/1", code=1)["words"]
    assert models("list")["count"] == 2, "none is removed where one cannot be"
    assert models("reject", "dogs/1", "--why", "biased")["aliases"] == []
    assert "dogs/1 was rejected: biased." in models("alias", "dogs/1", "champion", code=1)["words"]
    assert models("rm", "dogs/1")["removed"] == ["dogs/1"]
    assert [version["version"] for version in models("list")["versions"]] == [2]
    assert len(list((Path(os.environ["VIZSLA_HOME"]) / "registry" / "dogs").iterdir())) == 1
    models("register", two_models[0], "--group", "dogs", "--pictures", photos)
    found = models("compare", "dogs")["versions"]
    assert [version["version"] for version in found] == [2, 3], "a number is not given again"
    assert found[0]["sha256"] != found[1]["sha256"]


def test_two_writers_at_once_make_two_versions(two_models: tuple[Path, Path], photos: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda model: register(str(model), "dogs", pictures=str(photos)), two_models))
    assert {registration.package.version for registration in done} == {1, 2}
    for model, registration in zip(two_models, done, strict=True):
        kept = Path(registration.package.source.removeprefix("file://")) / "model"
        assert (kept / "head.safetensors").read_bytes() == (model / "head.safetensors").read_bytes()


def test_a_registry_that_is_down(models: Models, two_models: tuple[Path, Path], photos: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    words = models("list", code=1, VIZSLA_TRACKING=nobody)["words"]
    assert "The model registry does not answer" in words
    assert nobody in words


def test_a_thousand_versions_are_listed_without_mlflow(
    models: Models, two_models: tuple[Path, Path], photos: Path
) -> None:
    models("register", two_models[0], "--group", "many", "--pictures", photos)
    with sqlite3.connect(Path(os.environ["VIZSLA_HOME"]) / "mlflow.db") as database:
        for table in ("model_versions", "model_version_tags"):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            (first, *rest) = database.execute(f"SELECT * FROM {table} WHERE name = 'many'").fetchall()
            place = names.index("version")
            copies = [
                (*row[:place], version, *row[place + 1 :]) for row in (first, *rest) for version in range(2, 1001)
            ]
            database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(names))})", copies)
    code = (
        "import sys; sys.argv = ['vizsla', 'models', 'list', '--json']\n"
        "from vizsla.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'mlflow', 'pandas', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    listed, loaded = result.stdout.strip().splitlines()
    assert json.loads(listed)["count"] == 1000
    assert loaded == "[]"


def test_a_promotion_is_picked_up_under_load_without_a_failure(
    models: Models, two_models: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    for model in two_models:
        models("register", model, "--group", "dogs", "--pictures", photos)
    models("approve", "dogs/1", "--alias", "champion")
    picture = (photos / "red" / "000.jpg").read_bytes()
    before, after = (load(model).probabilities(picture) for model in two_models)
    assert not np.allclose(before, after)
    server = start(["models:/dogs@champion", "--no-log-requests"], tmp_path / "log")
    answers: list[tuple[int, Any]] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
            while not over.is_set():
                headers = {"content-type": "image/jpeg"}
                response = client.post("/invocations", content=picture, headers=headers)
                answers.append((response.status_code, response.json()))

    def said(probabilities: Any) -> bool:
        return np.array_equal(np.asarray(answers[-1][1], np.float32), probabilities)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    try:
        for thread in asking:
            thread.start()
        _wait(lambda: len(answers) > 20 and said(before))
        words = models("alias", "dogs/2", "champion", code=1)["words"]
        assert "dogs/2 is not approved (PendingManualApproval)." in words
        assert "vizsla models approve dogs/2 --alias champion" in words
        models("approve", "dogs/2", "--alias", "champion")
        _wait(lambda: said(after))
        loaded = httpx.get(f"{server.url}/models", trust_env=False).json()["models"]
        _wait(lambda: len(httpx.get(f"{server.url}/models", trust_env=False).json()["models"]) == 1)
        assert {"modelName": "dogs/2", "modelUrl": "models:/dogs/2"} in loaded
    finally:
        over.set()
        for thread in asking:
            thread.join()
        server.stop()
    assert {status for status, _ in answers} == {200}
    assert any(line.get("event") == "promoted" for line in server.log()), server.log_file.read_text()


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_server_has_is_held_against_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As :mod:`tests.registry.test_server` does with a real server, which takes a minute."""
    kept = tmp_path / "kept"
    (kept / "model").mkdir(parents=True)
    (kept / "model" / "head.safetensors").write_bytes(b"whole")
    package = ModelPackage("dogs", 1, "mlflow-artifacts:/dogs", "now", sha256=digest(kept / "model"))
    monkeypatch.setattr(
        MlflowStore, "download", lambda store, package, folder: shutil.copytree(kept, folder / "package")
    )
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    assert (model_folder(package) / "head.safetensors").read_bytes() == b"whole"
    shutil.rmtree(tmp_path / "cache")
    (kept / "model" / "head.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="not what was registered and proven"):
        model_folder(package)
    assert not list((tmp_path / "cache" / "registry").iterdir()), "nothing of it is kept"
