"""Batch transform against its limits, and its memory over many inputs.

Two limits on this machine: the bare engine on ready tensors; and the engine with the decoding of the same files, as
many pictures at a time as there are cores, and nothing else. An engine that leaves the cores idle (a GPU) lets a
transform come near to the first; where engine and decoder share the cores, the second is what can be had.

    python -m benchmarks.transform [--pictures 600] [--rounds 3] [--backbones mobilenetv2_100 resnet18]
    python -m benchmarks.transform --memory 1000 10000 100000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.features import PROCESSOR, bare_engine, request, timed
from benchmarks.measure import interleaved, photos, ratio, seconds, spread, table
from vizsla.batch.answering import Answerer
from vizsla.batch.document import TransformJob
from vizsla.batch.inputs import open_inputs
from vizsla.batch.models import open_model
from vizsla.batch.outputs import Folder
from vizsla.batch.run import Run, opened_journal
from vizsla.images import Limits
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.heads import LinearHead
from vizsla.models.model import load
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings

CLASSES = [f"class-{i}" for i in range(10)]


def save_model(folder: Path, backbone: ExportedBackbone) -> Path:
    """A saved model with a head of zeros: speed does not depend on it."""
    head = LinearHead(np.zeros((len(CLASSES), backbone.features), np.float32), np.zeros(len(CLASSES), np.float32))
    card = artifact.ModelCard(
        classes=CLASSES,
        preprocessing=artifact.PreprocessingCard(**backbone.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=backbone.name,
            weights=backbone.weights,
            sha256=backbone.sha256,
            features=backbone.features,
            engine="onnxruntime",
            precision="fp32",
        ),
        head_sha256=hashlib.sha256(artifact.head_bytes(head)).hexdigest(),
        provenance=artifact.Provenance(
            job="benchmark", created="", dataset="none", dataset_sha256="0" * 64, seed=0, versions={}
        ),
    )
    artifact.save(folder, card, backbone.path, head)
    return folder


def linked(paths: list[Path], folder: Path, count: int) -> Path:
    """A folder of ``count`` links to the photos, 1,000 in each of its folders."""
    for i in range(count):
        place = folder / f"{i // 1000:04}"
        if i % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{i:07}.jpg").symlink_to(paths[i % len(paths)])
    return folder


def transform(model: Path, source: Path) -> float:
    """Pictures a second of a whole transform into an empty folder: listing, decoding, engine, files, journal."""
    job = TransformJob.read(
        {
            "ModelName": str(model),
            "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": str(source)}}},
        }
    )
    opened = open_model(job, model, settings().threads)
    with tempfile.TemporaryDirectory() as place, opened_journal(Path(place) / "journal") as journal:
        answerer = Answerer(job, opened, settings().max_image_bytes)
        run = Run(answerer, journal, Folder(Path(place) / "output"), Path(place) / "parts", lines=False)
        inputs = open_inputs(str(source))
        took = seconds(lambda: run.run(inputs))
    return run.summary.records / took


def with_decoding(model: Path, paths: list[Path], threads: int) -> float:
    """Pictures a second of the model alone: the same files decoded and run, nothing written."""
    loaded = load(model)
    with ThreadPoolExecutor(threads) as pool:
        took = seconds(lambda: list(pool.map(lambda path: loaded.probabilities(path.read_bytes()), paths)))
    return len(paths) / took


def speed(backbones: list[str], pictures: int, rounds: int) -> None:
    """Print the rates and their ratios."""
    threads, limits, rows = settings().threads, Limits.from_settings(), []
    for name in backbones:
        backbone = ensure_exported(request(name), settings().cache)
        paths = photos(pictures)
        tensors = np.stack([backbone.preprocessing(path.read_bytes(), limits) for path in paths])
        engine = OnnxEngine(backbone.path)
        with tempfile.TemporaryDirectory() as place:
            model = save_model(Path(place) / "model", backbone)
            source = linked(paths, Path(place) / "source", len(paths))

            def bare(tensors: np.ndarray = tensors, engine: OnnxEngine = engine) -> float:
                return bare_engine(tensors, engine, threads, 1)

            def decoded(model: Path = model, paths: list[Path] = paths) -> float:
                return with_decoding(model, paths, threads)

            def ours(model: Path = model, source: Path = source) -> float:
                return transform(model, source)

            sides: dict[str, Callable[[], float]] = {"engine": bare, "decoded": decoded, "transform": ours}
            rates = interleaved(
                {side: timed(f"{name} {side}", action, len(paths)) for side, action in sides.items()}, rounds
            )
            costs = [PROCESSOR[f"{name} {side}"] for side in sides]
        rows.append(
            (
                name,
                spread(rates["engine"]),
                spread(rates["decoded"]),
                spread(rates["transform"]),
                ratio(rates["transform"], rates["engine"]),
                ratio(rates["transform"], rates["decoded"]),
                ", ".join(spread(cost) for cost in costs),
                f"{ratio(costs[0], costs[2])}, {ratio(costs[1], costs[2])}",
            )
        )
    print(f"{pictures} photos, {threads} threads, {rounds} rounds; images/s as median (minimum to maximum)")
    header = ("backbone", "bare engine", "engine and decoder", "transform", "of the engine", "of both")
    table((*header, "processor ms a picture", "the same two ratios in processor time"), rows)


def peak(count: int) -> dict[str, float]:
    """Peak memory of a process that transforms ``count`` small pictures."""
    command = [sys.executable, "-m", "benchmarks.transform", "--child", str(count)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def child(count: int) -> None:
    """What :func:`peak` runs."""
    backbone = ensure_exported(BackboneSpec.resolve("test_resnet", random_init=True), settings().cache)
    with tempfile.TemporaryDirectory() as place:
        model = save_model(Path(place) / "model", backbone)
        small = []
        for i, path in enumerate(photos(50)):
            from PIL import Image

            target = Path(place) / f"small-{i}.jpg"
            Image.open(path).resize((96, 72)).save(target)
            small.append(target)
        source = linked(small, Path(place) / "source", count)
        rate = transform(model, source)
    print(json.dumps({"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "rate": rate}))


def memory(counts: list[int]) -> None:
    """Print the peak memory of each count."""
    rows = [(f"{count:,}", f"{(result := peak(count))['peak']:.0f} MB", f"{result['rate']:.0f}") for count in counts]
    table(("inputs", "peak memory", "images/s"), rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=int, default=600)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--backbones", nargs="+", default=["mobilenetv2_100", "resnet18"])
    options.add_argument("--memory", type=int, nargs="+")
    options.add_argument("--child", type=int)
    asked = options.parse_args()
    os.environ.setdefault("VIZSLA_HOME", tempfile.gettempdir())
    if asked.child:
        child(asked.child)
    elif asked.memory:
        memory(asked.memory)
    else:
        speed(asked.backbones, asked.pictures, asked.rounds)


if __name__ == "__main__":
    main()
