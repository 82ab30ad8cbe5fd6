"""``fit`` reads its data through the gate: any source, leaks left out, options carried by the job's document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vizsla.cli.main import app
from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import DataError
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.settings import settings
from vizsla.training.config import StepConfig
from vizsla.workflow.document import from_spec, to_spec
from vizsla.workflow.fit import fit
from vizsla.workflow.request import FitRequest

SPLITS = {"train": {"red": 16, "green": 16}, "valid": {"red": 4, "green": 4}, "test": {"red": 4, "green": 4}}
QUICK = StepConfig(epochs=2)


def request(data: Path | str, **options) -> FitRequest:
    return FitRequest(data, "test_resnet", random_init=True, head=QUICK, **options)


def test_a_leak_is_left_out_told_and_listed(folder_of_photos):
    root = folder_of_photos(splits=SPLITS)
    shutil.copy(root / "train/red/001.jpg", root / "test/red/copy.jpg")
    result = fit(request(root))
    text = " ".join(result.warnings)
    assert "Exact copies across splits" in text
    assert "Left out because a copy lies in another split: 1" in text
    lines = (result.job / "output/findings.jsonl").read_text().splitlines()
    assert "leak-exact" in {json.loads(line)["id"] for line in lines}
    predictions = (result.job / "output/test-predictions.csv").read_text()
    assert "test/red/copy.jpg" in predictions
    assert (next((settings().home / "datasets").iterdir()) / "manifest.parquet").is_file()
    with pytest.raises(DataError, match="more than one split"):
        fit(request(root, gate=GateOptions(on_leak="fail")))


def test_a_repaired_picture_is_trained_on(folder_of_photos, paint):
    root = folder_of_photos(splits=SPLITS)
    paint(901, size=(300, 240), colour=(220, 40, 40)).save(root / "train/red/cut.jpg", quality=90)
    data = (root / "train/red/cut.jpg").read_bytes()
    (root / "train/red/cut.jpg").write_bytes(data[: len(data) * 4 // 5])
    assert [entry["path"] for entry in fit(request(root)).damaged] == ["train/red/cut.jpg"]
    assert fit(request(root, gate=GateOptions(on_damaged="repair"))).damaged == ()


def test_a_picture_whose_decoder_warns_is_listed_and_not_trained_on(folder_of_photos):
    root = folder_of_photos(splits=SPLITS)
    broken = root / "test/red/001.jpg"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd4" + bytes(38)
    broken.write_bytes(data)
    result = fit(request(root))
    assert [(entry["path"], entry["kind"]) for entry in result.damaged] == [("test/red/001.jpg", "corrupt-data")]
    assert "test/red/001.jpg" not in (result.job / "output/test-predictions.csv").read_text()


def test_an_archive_with_a_class_dropped_by_the_command(folder_of_photos, tmp_path):
    root = folder_of_photos({"red": 30, "green": 30, "clutter": 30})
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", root)
    backbone = ["--backbone", "test_resnet", "--random-init", "--epochs", "1"]
    result = CliRunner().invoke(app, ["fit", archive, "--drop-class", "clutter", *backbone, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert [entry["name"] for entry in told["metrics"]["classes"]] == ["green", "red"]
    assert Path(told["job"]).name.startswith("train-set-")


def test_splits_of_a_first_fit_stay_in_the_next(folder_of_photos, paint):
    root = folder_of_photos({"red": 30, "green": 30})
    first = fit(request(root))
    for i in range(20):
        paint(700 + i, colour=(220, 40, 40)).save(root / "red" / f"A{i}.jpg")
    second = fit(request(root))

    def tested(result) -> set[str]:
        lines = (result.job / "output/test-predictions.csv").read_text().splitlines()[1:]
        return {line.split(",")[0] for line in lines}

    assert tested(first) < tested(second)
    assert all(name.startswith("red/A") for name in tested(second) - tested(first))


@pytest.mark.parametrize("data", [Path("/data/photos"), "s3://bucket/photos", "https://example.org/photos.zip"])
def test_the_document_carries_source_and_options(data):
    asked = FitRequest(
        data,
        "resnet18",
        source=SourceOptions(
            ("257.clutter",),
            r"(IMG_\d+)",
            "http://127.0.0.1:9000",
            None,
            "kaggle",
            path_column="id",
            label_column="1",
            split_column="true",
            label_from=r"^(.+)_\d+",
        ),
        gate=GateOptions("repair", "warn", 12),
    )
    document = json.loads(json.dumps(to_spec(asked).to_dict()))
    assert from_spec(TrainingJobSpec.read(document)) == asked
    for choice in ("off", "auto", "24"):
        document["HyperParameters"]["near-copies"] = choice
        document["HyperParameters"].pop("near_copies", None)
        assert from_spec(TrainingJobSpec.read(document)).gate == GateOptions("repair", "warn", choice)
