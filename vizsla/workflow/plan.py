"""What ``fit`` would do and how long that would take, found out by trying a few pictures."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vizsla.data import Dataset
from vizsla.errors import ImageError
from vizsla.images import Limits, read_file
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import find_exported, to_onnx
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.config import HeadConfig, StepConfig
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable
from vizsla.workflow.gate import read_data
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.request import FitRequest
from vizsla.workflow.speed import images_per_second

_SAMPLE_HASHED, _EXAMPLES = 256, 8
_SAMPLE_SECONDS = 2.0
_EXPORT_SECONDS = 8.0
_AFTER_SECONDS = 12.0
"""To export a backbone that was trained, run it over the test pictures, and save and prove the model."""
_SCAN_SECONDS = 0.005
"""Looking at one picture on one thread, at most (docs/data.md)."""
_ITERATIONS = 150
"""Iterations of a head whose strength is chosen, the six strengths that share a product counted by what they cost."""
_ENOUGH_SECONDS = 1e9
_TEST_SECONDS = 2e-4
"""Measuring and writing down one test picture."""


@dataclass(frozen=True)
class Stage:
    """One stage, what it would do and the seconds it is expected to take."""

    name: str
    what: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What would be done. ``images_per_second`` was measured on a few of the pictures."""

    images: int
    classes: tuple[str, ...]
    cached_share: float
    images_per_second: float
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """The expected time of everything."""
        return sum(stage.seconds for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla fit --dry-run --json`` prints."""
        return {
            "images": self.images,
            "classes": list(self.classes),
            "cached_share": round(self.cached_share, 4),
            "images_per_second": round(self.images_per_second, 1),
            "seconds": {stage.name: round(stage.seconds, 3) for stage in self.stages},
            "expected_seconds": round(self.seconds, 1),
            "warnings": list(self.warnings),
        }


def plan(request: FitRequest, observer: Observer | None = None) -> Plan:
    """Find out what ``fit`` would do, without a job, a download or anything kept.

    Where the backbone has not been exported yet, an untrained copy of it is timed: weights do not change speed.

    Raises
    ------
    VizslaError
        What ``fit`` would raise for the data and the backbone's name.
    """
    observer = observer or Silent()
    observer.stage("dataset")
    began = time.monotonic()
    weights, *others = request.backbone_specs()
    dataset = read_data(request.data_request())
    warnings = [*dataset.notes, *dataset.check()]
    if others:
        names = ", ".join(spec.backbone for spec in others)
        warnings.append(f"The times are those of {weights.backbone}; {names} would be compared with it on a sample.")
    reading = time.monotonic() - began
    observer.stage("backbone")
    exported = find_exported(weights, settings().cache)
    rows = np.random.default_rng(request.head.seed).permutation(len(dataset))
    if exported:
        engine, preprocessing, features = OnnxEngine(exported.path), exported.preprocessing, exported.features
        cached = _cached_share(dataset, rows, FeatureSpace(settings().cache, exported, engine))
        backbone = Stage("backbone", f"{exported.name} ({exported.weights}) is ready", 0.3)
    else:
        from vizsla.models.backbone import load_backbone

        untrained = load_backbone(BackboneSpec(weights.backbone, random_init=True, size=weights.size))
        preprocessing, features = untrained.preprocessing, untrained.features
        engine, cached = OnnxEngine(to_onnx(untrained.module, preprocessing)), 0.0
        what = (
            f"fetch (the network is not tried now) and export {weights.backbone}"
            if weights.weights is None
            else f"export {weights.backbone}"
        )
        backbone = Stage("backbone", f"{what} ({weights.describe()})", _EXPORT_SECONDS)
    observer.stage("features")
    rate = images_per_second(dataset, rows, preprocessing, engine, settings().threads, _SAMPLE_SECONDS)
    missing = round(len(dataset) * (1 - cached))
    train = len(dataset.rows("train"))
    tested = len(dataset.rows("test"))
    scan = len(dataset) * _SCAN_SECONDS / settings().threads
    extraction, evaluation = missing / rate + len(dataset) * 2e-4, 1.0 + tested * _TEST_SECONDS
    left = _left(request.minutes, reading + scan + backbone.seconds + extraction + evaluation)
    head, words = _training(request, weights, dataset, features, left)
    stages = (
        Stage("dataset", f"{len(dataset):,} pictures of {len(dataset.classes)} classes", reading),
        Stage("scan", "every picture that was not looked at before", scan),
        backbone,
        Stage(
            "features",
            f"about {missing:,} pictures at {rate:.0f} a second; about {100 * cached:.0f} % are in the cache",
            extraction,
        ),
        Stage("head", f"{words} on {train:,} pictures", 0.2 + head),
        Stage("evaluation", f"{tested:,} test pictures, model and report", evaluation),
    )
    return Plan(len(dataset), dataset.classes, cached, rate, stages, tuple(warnings))


def _head_seconds(config: HeadConfig, train: int, features: int, classes: int) -> float:
    """The time of all epochs or iterations, from a few over a few batches of noise."""
    rows = np.arange(min(train, 512))
    rng = np.random.default_rng(0)
    noise = FeatureTable.of(rng.random((len(rows), features), np.float32))
    data = HeadData(noise, rng.integers(0, classes, len(rows), np.int32), rows, rows[:1], classes)
    began = time.monotonic()
    if isinstance(config, StepConfig):
        train_heads(data, [replace(config, epochs=1, patience=None)])
        return config.epochs * (time.monotonic() - began) * train / len(rows)
    (trained,) = train_heads(data, [replace(config, weight_decay=0.03)])
    return _ITERATIONS * (time.monotonic() - began) / max(1, trained.iterations) * train / len(rows)


def _left(minutes: float | None, besides: float) -> float:
    """The seconds that training has, where all the rest takes ``besides``."""
    if minutes is None:
        return _ENOUGH_SECONDS
    return max(0.0, 60 * minutes - besides - min(_AFTER_SECONDS, 30 * minutes))


def _training(
    request: FitRequest, spec: BackboneSpec, dataset: Dataset, features: int, left: float
) -> tuple[float, str]:
    """The seconds of training, of those that are left for it, and what it is."""
    config, classes = request.head, len(dataset.classes)
    train, valid = len(dataset.rows("train")), len(dataset.rows("valid"))
    if not isinstance(config, FineTuneConfig):
        return _head_seconds(config, train, features, classes), _head_words(config)
    from vizsla.models.backbone import load_backbone
    from vizsla.training.fine_tuning import schedule
    from vizsla.training.fine_tuning.stage import best_device

    untrained = load_backbone(BackboneSpec(spec.backbone, random_init=True, size=spec.size))
    head = LinearHead(np.zeros((classes, features), np.float32), np.zeros(classes, np.float32))
    cuts = schedule.cuts_for(untrained, config, config.views * train + valid, schedule.room(settings().cache))
    planned = schedule.asked_for(config, cuts, untrained, best_device())
    examples = [dataset[int(row)] for row in dataset.rows("train")[:: max(1, train // _EXAMPLES)][:_EXAMPLES]]
    costs = schedule.measure(untrained, examples, planned, cuts, head, settings().threads, best_device())
    timed = schedule.within(planned, costs, train, valid, left, auto=config.is_open)
    words = "; then ".join(f"{stage.epochs} epochs at depth {stage.depth}" for stage, _ in timed)
    return sum(took for _, took in timed), words or "the head alone, as the time allows no more,"


def _head_words(config: HeadConfig) -> str:
    return f"at most {config.epochs} epochs" if isinstance(config, StepConfig) else "to the optimum"


def _cached_share(dataset: Dataset, rows: np.ndarray[Any, np.dtype[np.int64]], space: FeatureSpace) -> float:
    index, limits = space.index(), Limits.from_settings()
    hits = sampled = 0
    for row in rows[:_SAMPLE_HASHED]:
        try:
            hits += hashlib.sha256(read_file(dataset[int(row)], limits)).digest() in index
            sampled += 1
        except ImageError:
            continue
    return hits / sampled if sampled else 0.0
