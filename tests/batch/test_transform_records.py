"""Transforms whose inputs hold records, one a line, and models with code of their own."""

from __future__ import annotations

import base64
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.batch.conftest import Transform, outputs
from vizsla.models.model import load


def test_lines_are_records_filtered_and_joined(model: Path, records: Path, transform: Transform) -> None:
    split = ("--split-type", "Line", "--input-filter", "$.photo")
    result = transform(model, records.parents[1], *split)
    (name, text), *others = outputs(Path(result["output"])).items()
    assert (name, others) == ("day-1/photos.jsonl.out", [])
    rows = [json.loads(line) for line in text.splitlines()]
    assert [type(row) for row in rows] == [list, list, dict, list, list]
    assert rows[2]["error"]["kind"] == "body-malformed"
    assert (result["inputs"], result["failed"]) == (5, 1)
    photo = base64.b64decode(json.loads(records.read_text().splitlines()[1])["photo"]["image"])
    assert np.array_equal(np.asarray(rows[1], np.float32), load(model).probabilities(photo))

    joined = transform(model, records, *split, "--join-source", "Input", "--output-filter", "$['id','SageMakerOutput']")
    rows = [json.loads(line) for line in (Path(joined["output"]) / "photos.jsonl.out").read_text().splitlines()]
    assert [sorted(row) for row in rows] == [["SageMakerOutput", "id"]] * 2 + [["error"]] + [
        ["SageMakerOutput", "id"]
    ] * 2

    together = transform(model, records, *split, "--assemble-with", "None")
    assert b"\n" not in (Path(together["output"]) / "photos.jsonl.out").read_bytes()


def test_filters_that_cannot_be_meant(model: Path, records: Path, transform: Transform) -> None:
    words = transform(model, records, "--split-type", "Line", "--input-filter", "$.picture", code=1)["words"]
    assert "The filter '$.picture' matches nothing in the record." in words
    assert "a path into a record with 'id', 'photo'" in words
    words = transform(model, records, "--split-type", "Line", "--output-filter", "$..x", code=2)["words"]
    assert "The filter '$..x' cannot be read from '..x' on." in words
    assert "--output-filter" in words
    words = transform(model, records, "--split-type", "TFRecord", code=2)["words"]
    assert "'TFRecord' is no choice." in words


CODE = """
import json, os

def model_fn(model_dir):
    return {"batch": os.environ.get("SAGEMAKER_BATCH"), "strategy": os.environ.get("SAGEMAKER_BATCH_STRATEGY")}

def transform_fn(model, body, content_type, accept):
    text = body if isinstance(body, str) else body.decode()
    if "bad" in text:
        raise ValueError("cannot read this one")
    lines = text.split("\\n")
    return "\\n".join(json.dumps({"n": len(line), "lines": len(lines), **model}) for line in lines), accept
"""


def test_a_models_own_code_is_asked(tmp_path: Path, transform: Transform) -> None:
    model = tmp_path / "own"
    (model / "code").mkdir(parents=True)
    (model / "code" / "inference.py").write_text(CODE)
    file = tmp_path / "lines.jsonl"
    file.write_text('"a"\n"bad"\n"ccc"\n')
    assert "--allow-code" in transform(model, file, "--split-type", "Line", code=2)["words"]
    result = transform(model, file, "--split-type", "Line", "--allow-code")
    rows = [json.loads(line) for line in (Path(result["output"]) / "lines.jsonl.out").read_text().splitlines()]
    assert rows[0] == {"n": 3, "lines": 1, "batch": "true", "strategy": "SINGLE_RECORD"}
    assert "cannot read this one" in rows[1]["error"]["what"]
    assert rows[2]["n"] == 5
    file.write_text('"a"\n"bb"\n"ccc"\n')
    result = transform(model, file, "--split-type", "Line", "--allow-code", "--batch-strategy", "MultiRecord")
    rows = [json.loads(line) for line in (Path(result["output"]) / "lines.jsonl.out").read_text().splitlines()]
    assert [(row["n"], row["lines"]) for row in rows] == [(3, 3), (4, 3), (5, 3)]
    assert result["inputs"] == 3


@pytest.fixture
def own_code(tmp_path: Path) -> Path:
    model = tmp_path / "own"
    (model / "code").mkdir(parents=True)
    (model / "code" / "inference.py").write_text(CODE)
    return model


def test_a_bad_line_among_others_that_are_sent_together_spoils_only_itself(
    own_code: Path, tmp_path: Path, transform: Transform
) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('"a"\n"bad"\n"ccc"\n"dddd"\n')
    options = ("--split-type", "Line", "--allow-code", "--batch-strategy", "MultiRecord")
    result = transform(own_code, file, *options, "--name", "packs")
    rows = [json.loads(line) for line in (Path(result["output"]) / "lines.jsonl.out").read_text().splitlines()]
    assert [row.get("n") for row in rows] == [3, None, 5, 6], "an answer a line, in the order of the lines"
    assert "cannot read this one" in rows[1]["error"]["what"]
    assert (result["inputs"], result["failed"]) == (4, 1)
    journal = (Path(os.environ["VIZSLA_HOME"]) / "packs" / "checkpoints" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["record"] for line in journal] == [0, 1, 2, 3, None]


def test_own_code_is_given_whole_files_of_a_folder(own_code: Path, tmp_path: Path, transform: Transform) -> None:
    folder = tmp_path / "documents"
    (folder / "day-1").mkdir(parents=True)
    (folder / "day-1" / "a.json").write_text('{"x": 1}')
    (folder / "b.csv").write_text("1,2\n3,4\n")
    for content_type in ("application/json", "text/csv"):
        result = transform(own_code, folder, "--allow-code", "--content-type", content_type)
        assert sorted(outputs(Path(result["output"]))) == ["b.csv.out", "day-1/a.json.out"]


def test_a_name_that_is_no_utf8_is_written_as_its_bytes(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform
) -> None:
    photos = folder_of_photos({"red": 2})
    os.rename(photos / "red" / "000.jpg", os.fsencode(photos / "red") + b"/caf\xe9.jpg")
    result = transform(model, photos)
    assert sorted(outputs(Path(result["output"]))) == ["red/001.jpg.out", "red/caf\\xe9.jpg.out"]
    table = transform(model, photos, "--table", "jsonl")
    rows = [json.loads(line) for line in Path(table["output"]).read_bytes().splitlines()]
    assert [row["input"] for row in rows] == ["red/001.jpg", "red/caf\\xe9.jpg"]


ROWS = """
import json

def model_fn(model_dir):
    return None

def transform_fn(model, body, content_type, accept):
    cells = (body if isinstance(body, str) else body.decode()).strip().split(",")
    if accept == "text/csv":
        return ",".join([str(len(cells)), '"two, words"']), accept
    return json.dumps({"n": len(cells), "cells": cells}, indent=1), accept
"""


def test_rows_of_csv_are_joined_with_whole_answers_of_either_form(
    own_code: Path, tmp_path: Path, transform: Transform
) -> None:
    (own_code / "code" / "inference.py").write_text(ROWS)
    file = tmp_path / "rows.csv"
    file.write_text("7,a,b\n8,c,d\n")
    options = ("--split-type", "Line", "--content-type", "text/csv", "--allow-code", "--input-filter", "$[1:]")

    def rows(*more: str) -> list[list[str]]:
        result = transform(own_code, file, *options, *more)
        with open(Path(result["output"]) / "rows.csv.out", newline="") as text:
            return list(csv.reader(text))

    joined = rows("--join-source", "Input", "--accept", "text/csv")
    assert joined == [["7", "a", "b", "2", "two, words"], ["8", "c", "d", "2", "two, words"]]
    joined = rows("--join-source", "Input", "--accept", "application/json")
    assert [len(row) for row in joined] == [4, 4], "a document of several lines is one cell"
    assert json.loads(joined[0][3]) == {"n": 2, "cells": ["a", "b"]}
    assert rows("--join-source", "Input", "--accept", "text/csv", "--output-filter", "$[0,4]")[1] == ["8", "two, words"]
    result = transform(own_code, file, *options, "--accept", "text/csv", "--output-filter", "$[0]")
    assert (Path(result["output"]) / "rows.csv.out").read_text() == '"2"\n"2"\n'


def test_pictures_have_no_parts_to_filter_or_join(
    model: Path, folder_of_photos: Callable[..., Path], transform: Transform
) -> None:
    photos = folder_of_photos({"red": 1})
    words = transform(model, photos, "--join-source", "Input", code=2)["words"]
    assert "A picture has no parts: it cannot be joined with its answer." in words
    assert "--join-source" in words
    assert "cannot be filtered" in transform(model, photos, "--input-filter", "$.x", code=2)["words"]
