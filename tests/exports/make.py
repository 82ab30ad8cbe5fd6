"""Makes exports with the tools themselves: ``python make.py TOOL FOLDER`` in an environment that has the tool.

TOOL is label-studio (label-studio-sdk), fiftyone, datumaro, datasets or webdataset. The text files that they write are
kept beside this script, as the tools are too large for the tests' environment; README.md says which versions wrote
them.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

KINDS = ("beagle", "pug")
NAMES = [f"{KINDS[i % 2]}-{i:03}" for i in range(12)]


def pictures(folder: Path) -> list[Path]:
    """Twelve small pictures of two kinds."""
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        Image.new("RGB", (32, 24), ((220, 9 * i, 40), (40, 9 * i, 220))[i % 2]).save(folder / f"{name}.jpg")
    return [folder / f"{name}.jpg" for name in NAMES]


def kind(path: Path) -> str:
    return path.name.partition("-")[0]


def label_studio(files: list[Path], out: Path) -> None:
    """A project of Choices as the server's own converter writes it; the last task has no label."""
    from label_studio_sdk.converter import Converter

    config = (
        '<View><Image name="image" value="$image"/><Choices name="choice" toName="image">'
        '<Choice value="beagle"/><Choice value="pug"/></Choices></View>'
    )
    tasks = []
    for i, file in enumerate(files, start=1):
        upload = f"{0xA5C0F00 * 16 + i:08x}-{file.name}"
        result = {"id": f"r{i}", "type": "choices", "value": {"choices": [kind(file)]}, "from_name": "choice",
                  "to_name": "image", "origin": "manual"}  # fmt: skip
        annotation = {"id": i, "completed_by": 1, "result": [result], "was_cancelled": False, "ground_truth": False,
                      "created_at": "2026-11-01T10:00:00Z", "updated_at": "2026-11-01T10:00:00Z",
                      "lead_time": 2.5}  # fmt: skip
        tasks.append({"id": i, "data": {"image": f"/data/upload/1/{upload}"}, "file_upload": upload, "predictions": [],
                      "annotations": [annotation] if i < len(files) else []})  # fmt: skip
    source = out / "tasks.json"
    source.write_text(json.dumps(tasks))
    for form in ("JSON", "JSON_MIN", "CSV", "TSV"):
        Converter(config, project_dir=None).convert(str(source), str(out / form), form, is_dir=False)
    source.unlink()


def fiftyone(files: list[Path], out: Path) -> None:
    """FiftyOneImageClassificationDataset: numbers of classes, names with confidence, several labels."""
    import fiftyone as fo
    from fiftyone.utils.data.exporters import FiftyOneImageClassificationDatasetExporter as Exporter

    with Exporter(export_dir=str(out / "numbers"), classes=list(KINDS)) as exporter:
        for file in files[:-1]:
            exporter.export_sample(str(file), fo.Classification(label=kind(file)))
        exporter.export_sample(str(files[-1]), None)
    with Exporter(export_dir=str(out / "confidence"), include_confidence=True) as exporter:
        for file in files:
            exporter.export_sample(str(file), fo.Classification(label=kind(file), confidence=0.5))
    with Exporter(export_dir=str(out / "several")) as exporter:
        both = fo.Classifications(classifications=[fo.Classification(label=name) for name in KINDS])
        exporter.export_sample(str(files[0]), both)


def datumaro(files: list[Path], out: Path) -> None:
    """CVAT's formats as datumaro, which CVAT itself exports with, writes them."""
    from datumaro import Dataset, DatasetItem, Image, Label

    items = [
        DatasetItem(
            id=file.stem,
            subset="train" if i < 8 else "val",
            media=Image.from_file(path=str(file)),
            annotations=[Label(KINDS.index(kind(file)))] if i < len(files) - 1 else [],
        )
        for i, file in enumerate(files)
    ]
    dataset = Dataset.from_iterable(items, categories=list(KINDS), media_type=Image)
    for form in ("cvat", "datumaro", "imagenet", "imagenet_txt"):
        dataset.export(str(out / form), form, save_media=True)


def datasets(files: list[Path], out: Path) -> None:
    """Metadata of an imagefolder, written by datasets from numbers that have names; datasets reads it back."""
    from datasets import ClassLabel, Dataset, Features, Value, load_dataset

    rows = [{"file_name": file.name, "label": KINDS.index(kind(file))} for file in files]
    features = Features({"file_name": Value("string"), "label": ClassLabel(names=list(KINDS))})
    written = Dataset.from_list(rows, features=features)
    for form, write in (("parquet", written.to_parquet), ("csv", written.to_csv), ("jsonl", written.to_json)):
        folder = out / form / "train"
        shutil.copytree(files[0].parent, folder)
        write(str(folder / f"metadata.{form}"))
        assert load_dataset("imagefolder", data_dir=str(out / form))["train"].num_rows == len(files)


def webdataset(files: list[Path], out: Path) -> None:
    """Shards of train and val, with every kind of label beside each picture."""
    from webdataset import ShardWriter

    for split, part in (("train", files[:8]), ("val", files[8:])):
        with ShardWriter(str(out / f"dogs-{split}-%06d.tar"), maxcount=4) as writer:
            for file in part:
                number = KINDS.index(kind(file))
                sample = {"__key__": file.stem, "jpg": file.read_bytes(), "cls": number, "json": {"label": number}}
                writer.write(sample | {"txt": kind(file)})


if __name__ == "__main__":
    tool, place = sys.argv[1].replace("-", "_"), Path(sys.argv[2])
    place.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        {f.__name__: f for f in (label_studio, fiftyone, datumaro, datasets, webdataset)}[tool](
            pictures(Path(temporary) / "pictures"), place
        )
