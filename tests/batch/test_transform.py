"""Batch transform: what goes in, what comes out beside it, what goes on after a kill."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import vizsla

from tests.batch.conftest import Transform, outputs
from tests.conftest import free_port, start_s3
from vizsla.models.model import load


def test_each_picture_has_an_answer_beside_its_key(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform
) -> None:
    photos = folder_of_photos(splits={"valid": {"red": 3, "blue": 2}})
    (photos / "valid" / "red" / "torn.jpg").write_bytes((photos / "valid" / "red" / "000.jpg").read_bytes()[:300])
    (photos / "valid" / "notes.txt").write_text("no picture")
    result = transform(model, photos / "valid", "--name", "whole-folder")
    output = Path(result["job"]) / "output"
    found = outputs(output)
    assert set(found) == {f"red/{i:03}.jpg.out" for i in range(3)} | {
        "blue/000.jpg.out",
        "blue/001.jpg.out",
        "red/torn.jpg.out",
    }
    loaded = load(model)
    for name in ("red/000.jpg", "blue/001.jpg"):
        expected = loaded.probabilities((photos / "valid" / name).read_bytes())
        assert np.array_equal(np.asarray(json.loads(found[f"{name}.out"]), np.float32), expected)
    assert json.loads(found["red/torn.jpg.out"])["error"]["kind"] == "truncated"
    assert (result["status"], result["inputs"], result["failed"]) == ("Completed", 6, 1)
    assert result["reason"] is None  # it is no training that left no model
    assert result["output"] == str(output)
    assert result["errors"] == {"truncated": 1}
    assert "1 .txt" in result["words"]


def test_the_answers_take_the_forms_of_the_endpoint(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform
) -> None:
    photo = folder_of_photos({"red": 1}) / "red" / "000.jpg"
    result = transform(model, photo, "--accept", "application/json;form=object")
    answer = json.loads((Path(result["output"]) / "000.jpg.out").read_bytes())
    assert answer["class_name"] == load(model).predict(photo).label
    words = transform(model, photo, "--accept", "video/mp4", code=2)["words"]
    assert "--accept" in words
    assert "application/jsonlines" in words


def test_archives_are_read_as_they_are(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform, tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 2, "blue": 1})
    names = ["red/000.jpg", "red/001.jpg", "blue/000.jpg"]
    with (
        zipfile.ZipFile(tmp_path / "photos.zip", "w") as packed,
        tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as tar,
    ):
        for name in names:
            packed.write(photos / name, name)
            tar.add(photos / name, name)
        packed.writestr("__MACOSX/red/._000.jpg", b"no picture")
        packed.writestr("readme.md", b"no picture")
    plain = outputs(Path(transform(model, photos)["output"]))
    for archive in ("photos.zip", "photos.tar.gz"):
        assert outputs(Path(transform(model, tmp_path / archive)["output"])) == plain
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as packed:
        packed.writestr("readme.md", b"no picture")
    assert (
        "the archive holds no picture, but 1 file (1 .md)" in transform(model, tmp_path / "empty.zip", code=1)["words"]
    )


def test_a_manifest_names_the_inputs(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform, tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 2, "blue": 1})
    forms = {
        "list.manifest": json.dumps([{"prefix": f"{photos}/"}, "red/000.jpg", "blue/000.jpg"]),
        "photos/refs.manifest": '{"source-ref": "red/000.jpg", "label": 1}\n{"source-ref": "blue/000.jpg"}\n',
        "photos/paths.txt": "red/000.jpg\nblue/000.jpg\n",
        "photos/table.csv": "path,label\nred/000.jpg,red\nblue/000.jpg,blue\n",
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        result = transform(model, tmp_path / name)
        assert set(outputs(Path(result["output"]))) == {"red/000.jpg.out", "blue/000.jpg.out"}, name
    twice = tmp_path / "photos" / "twice.txt"
    twice.write_text("red/000.jpg\nblue/000.jpg\nred/000.jpg\n")
    words = transform(model, twice, code=1)["words"]
    assert "The input 'red/000.jpg' is listed twice: line 1 and line 3." in words
    outside = tmp_path / "photos" / "red" / "up.txt"
    outside.write_text("../blue/000.jpg\n../blue/none.jpg\n")
    result = transform(model, outside)
    assert result["errors"] == {"unreadable": 1}
    assert all(path.endswith(("/blue/000.jpg.out", "/blue/none.jpg.out")) for path in outputs(Path(result["output"])))


def test_one_table_instead_of_many_files(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform
) -> None:
    import pyarrow.parquet

    photos = folder_of_photos({"red": 3, "blue": 2})
    (photos / "red" / "empty.jpg").write_bytes(b"")
    result = transform(model, photos, "--table", "parquet")
    table = pyarrow.parquet.read_table(result["output"])
    names = table.column("input").to_pylist()
    assert names == ["blue/000.jpg", "blue/001.jpg", "red/000.jpg", "red/001.jpg", "red/002.jpg", "red/empty.jpg"]
    expected = load(model).predict(photos / "red" / "001.jpg")
    assert table.column("label")[3].as_py() == expected.label
    assert np.array_equal(np.asarray(table.column("probabilities")[3].as_py(), np.float32), expected.probabilities)
    assert table.column("error_kind").to_pylist() == [None] * 5 + ["empty"]
    assert json.loads(table.schema.metadata[b"classes"]) == ["blue", "green", "red"]
    result = transform(model, photos, "--table", "jsonl")
    rows = [json.loads(line) for line in Path(result["output"]).read_bytes().splitlines()]
    assert [row["input"] for row in rows] == names
    assert rows[3]["label"] == expected.label


def _transform_process(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vizsla", "transform", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)


def _kill_when(job: Path, is_far: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_far():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    facts = json.loads((job / ".run" / "process.json").read_bytes())
    os.kill(facts["supervisor"], signal.SIGKILL)
    os.killpg(facts["group"], signal.SIGKILL)


def test_a_killed_transform_goes_on_where_it_was(
    model: Path, folder_of_photos: Callable[..., Path], tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 3})
    image = base64.b64encode((photos / "red" / "000.jpg").read_bytes()).decode()
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"id": i, "image": image}) + "\n" for i in range(1200)))
    job = Path(os.environ["VIZSLA_HOME"]) / "killed"
    options = ("--split-type", "Line", "--join-source", "Input", "--output-filter", "$['id','SageMakerOutput']")
    process = _transform_process(model, file, *options, "--name", "killed")
    journal = job / "checkpoints" / "journal.jsonl"
    _kill_when(job, lambda: journal.exists() and journal.stat().st_size > 2000)
    process.wait(30)
    done = len(journal.read_bytes().splitlines())
    assert 0 < done < 1200
    with journal.open("ab") as torn:
        torn.write(b'{"input":"many.js')
    result = vizsla("jobs", "resume", "killed", "--json")
    assert result.returncode == 0, result.stderr
    assert "are done already" in result.stderr
    rows = [json.loads(line) for line in (job / "output" / "many.jsonl.out").read_bytes().splitlines()]
    assert [row["id"] for row in rows] == list(range(1200))
    assert len({json.dumps(row["SageMakerOutput"]) for row in rows}) == 1
    facts = json.loads((job / "output" / "transform.json").read_bytes())
    assert facts["inputs"] == 1200


def test_a_kill_just_after_the_whole_was_in_its_place(
    model: Path, records: Path, transform: Transform, tmp_path: Path
) -> None:
    name, split = "late", ("--split-type", "Line", "--input-filter", "$.photo")
    output = Path(transform(model, records, *split, "--name", name)["output"]) / "photos.jsonl.out"
    journal = Path(os.environ["VIZSLA_HOME"]) / name / "checkpoints" / "journal.jsonl"
    *lines, end = journal.read_bytes().splitlines(keepends=True)
    assert json.loads(end) == {"input": "photos.jsonl", "record": None}
    journal.write_bytes(b"".join(lines))
    state = journal.parents[1] / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"status": "Failed"}))
    whole = output.read_bytes()
    result = vizsla("jobs", "resume", name, "--json")
    assert result.returncode == 0, result.stderr
    assert output.read_bytes() == whole
    assert json.loads((output.parent / "transform.json").read_bytes())["inputs"] == 5


def test_it_does_not_go_on_with_another_model(
    model: Path, tiny_backbone: Any, folder_of_photos: Callable[..., Path], transform: Transform, tmp_path: Path
) -> None:
    from tests.batch.conftest import save_model

    own = save_model(tmp_path / "own-model", tiny_backbone)
    photos = folder_of_photos({"red": 2})
    (photos / "red").chmod(0o755)
    name = "changing"
    transform(own, photos / "red", "--name", name, "--output", "/proc/nowhere", code=1)
    job = Path(os.environ["VIZSLA_HOME"]) / name
    (job / "checkpoints" / "model.json").write_text(json.dumps({"identity": "another"}))
    document = json.loads((job / "job.json").read_bytes())
    document["document"]["TransformOutput"].pop("S3OutputPath")
    (job / "job.json").write_text(json.dumps(document))
    result = vizsla("jobs", "resume", name, "--json")
    assert result.returncode == 1
    assert "The model is another one than when this job began" in result.stderr


def test_what_cannot_be_is_said_before_there_is_a_job(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform, tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 1})
    assert "There is no model 'none'." in transform("none", photos, code=1)["words"]
    assert "There is no such input." in transform(model, tmp_path / "none", code=2)["words"]
    assert "MODEL and INPUT are needed" in transform(code=2)["words"]
    assert not Path(os.environ["VIZSLA_HOME"]).exists()


def test_names_mean_the_same_in_the_folder_of_the_job(
    model: Path, folder_of_photos: Callable[..., Path], tmp_path: Path, transform: Transform, monkeypatch: Any
) -> None:
    folder_of_photos({"red": 1})
    monkeypatch.chdir(tmp_path)
    job = tmp_path / "runs" / "trained"
    job.mkdir(parents=True)
    (job / "model").symlink_to(model)
    result = transform("trained", "photos/red", "--output", "answers", executor="local", VIZSLA_HOME="runs")
    assert outputs(tmp_path / "answers").keys() == {"000.jpg.out"}
    assert result["output"] == str(tmp_path / "answers")


def test_an_output_that_cannot_be_written(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform, tmp_path: Path
) -> None:
    photos = folder_of_photos({"red": 1})
    (tmp_path / "file").write_text("")
    words = transform(model, photos, "--output", tmp_path / "file" / "below", code=1)["words"]
    assert "Cannot write here" in words
    assert "is a file, not a folder" in words


def test_no_answer_at_all_is_a_failure(model: Path, transform: Transform, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    for i in range(3):
        (tmp_path / "broken" / f"{i}.jpg").write_bytes(b"\xff\xd8\xff nothing")
    result = transform(model, tmp_path / "broken", code=1)
    assert result["status"] == "Failed"
    assert "None of the 3 inputs could be transformed" in result["words"]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Any:
    port = free_port()
    server = start_s3(tmp_path_factory.mktemp("s3"), port)
    yield {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "S3RVER",
        "AWS_SECRET_ACCESS_KEY": "S3RVER",
        "AWS_REGION": "us-east-1",
    }
    server.terminate()
    server.wait(10)


@pytest.mark.s3
def test_a_bucket_is_streamed_in_and_out(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform, bucket: dict[str, str]
) -> None:
    import boto3

    photos = folder_of_photos({"red": 3, "blue": 2})
    (photos / "red" / "torn.jpg").write_bytes(b"\xff\xd8\xff nothing")
    keys = {"aws_access_key_id": "S3RVER", "aws_secret_access_key": "S3RVER", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=bucket["AWS_ENDPOINT_URL"], **keys)
    for path in photos.rglob("*.jpg"):
        client.upload_file(str(path), "photos", f"set/{path.relative_to(photos)}")
    mirrors = Path(os.environ["VIZSLA_CACHE"]) / "sources"
    before = {*mirrors.glob("*")}  # of other tests
    result = transform(model, "s3://photos/set", "--output", "s3://other/answers", **bucket)
    listed = client.list_objects_v2(Bucket="other", Prefix="answers/")["Contents"]
    plain = outputs(Path(transform(model, photos)["output"]))
    assert {item["Key"].removeprefix("answers/") for item in listed} == set(plain)
    for name, content in plain.items():
        assert client.get_object(Bucket="other", Key=f"answers/{name}")["Body"].read() == content
    assert result["output"] == "s3://other/answers"
    assert {*mirrors.glob("*")} == before, "nothing is mirrored"
    words = transform(model, "s3://photos/none", code=1, **bucket)["words"]
    assert "no picture lies under this address" in words
    words = transform(model, photos, "--output", "s3://nowhere/x", code=1, **bucket)["words"]
    assert "Cannot write here: There is no such bucket." in words
