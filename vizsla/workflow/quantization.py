"""A model in eight bits: the backbone quantised, the head trained anew on what the quantised backbone says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.data import Dataset
from vizsla.errors import DataError, UsageError
from vizsla.evaluation.evaluate import Evaluation, evaluate
from vizsla.files import write_bytes
from vizsla.images import Limits, read_file
from vizsla.jobs.directory import JobDirectory
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.models.onnx_file import to_int8
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.callbacks import Callback
from vizsla.training.config import HeadConfig, head_config
from vizsla.training.features import Extraction, extract, probabilities
from vizsla.training.head_data import HeadData
from vizsla.training.head_trainer import HeadTrainer
from vizsla.training.trainer import Frozen
from vizsla.workflow.document import from_job
from vizsla.workflow.gate import DataRequest, read_data
from vizsla.workflow.proof import prove

_CALIBRATION = 128


@dataclass(frozen=True)
class QuantisedModel:
    """The model in eight bits, and both evaluations on the same test pictures."""

    folder: Path
    before: Evaluation
    after: Evaluation

    @property
    def lost(self) -> float:
        """Points of accuracy lost, of 100."""
        return 100 * (self.before.accuracy.value - self.after.accuracy.value)


def quantise(model: Path, job: JobDirectory, folder: Path) -> QuantisedModel:
    """Write a model in eight bits to ``folder``, as any other model: it is served, registered and transformed with.

    Parameters
    ----------
    model:
        The saved model of the job.
    job:
        The training: its data are read again.

    Raises
    ------
    DataError
        When the data are gone.
    """
    saved = artifact.load(model)
    if isinstance(saved.backbone, bytes):
        raise UsageError("A model is quantised from its folder, not from an archive.", where=model)
    request = from_job(job.document)
    dataset = read_data(DataRequest(str(request.data), request.source, request.gate, request.head.seed))
    original = _backbone(saved, saved.backbone, saved.card.backbone.sha256)
    rows = dataset.rows("train")
    chosen = rows[np.linspace(0, len(rows) - 1, min(_CALIBRATION, len(rows))).astype(int)]
    limits = Limits.from_settings()
    try:
        pictures = [saved.preprocessing(read_file(dataset.path(int(row)), limits), limits) for row in chosen]
    except OSError as error:
        raise DataError(f"The training pictures are gone: {error.strerror}.", where=dataset.root) from error
    content = to_int8(saved.backbone, pictures)
    sha256 = hashlib.sha256(content).hexdigest()
    place = settings().cache / "backbones" / f"{sha256}.onnx"
    write_bytes(place, content, make_folder=True)
    backbone = _backbone(saved, place, sha256)
    engine = OnnxEngine(place)
    engine.precision = "int8"
    extraction = _extract(dataset, backbone, engine)
    data = HeadData(
        extraction.table,
        dataset.sealed().labels,
        _usable(extraction, dataset.rows("train")),
        _usable(extraction, dataset.rows("valid")),
        len(dataset.classes),
        dataset.groups,
    )
    trainer = HeadTrainer(folder.parent, _config(saved.card.provenance.hyperparameters))
    trained = trainer.train(Frozen(backbone, data, sha256, sha256), Callback()).trained
    trainer.clear()
    test = _usable(extraction, dataset.rows("test"))
    said = probabilities(extraction, trained.head, test)
    before = _evaluate(
        dataset, probabilities(_extract(dataset, original, OnnxEngine(saved.backbone)), saved.head, test), test
    )
    after = _evaluate(dataset, said, test)
    headline = {k: v for k, v in after.to_dict().items() if k not in ("classes", "confusion", "mistakes")}
    card = saved.card.model_copy(
        update={
            "format_version": artifact.FORMAT_VERSION,
            "backbone": saved.card.backbone.model_copy(
                update={"sha256": sha256, "engine": engine.name, "precision": engine.precision}
            ),
            "head": trained.head.kind,
            "head_sha256": hashlib.sha256(artifact.head_bytes(trained.head)).hexdigest(),
            "metrics": headline,
        }
    )
    artifact.save(folder, card, place, trained.head, prove=partial(prove, dataset, test, said))
    return QuantisedModel(folder, before, after)


def _backbone(saved: artifact.SavedModel, path: Path, sha256: str) -> ExportedBackbone:
    card = saved.card.backbone
    return ExportedBackbone(card.name, card.weights, path, sha256, saved.preprocessing, card.features)


def _config(values: dict[str, Any]) -> HeadConfig:
    """The head's own hyperparameters, where it was trained alone."""
    try:
        return head_config(values)
    except UsageError:
        return head_config({})


def _extract(dataset: Dataset, backbone: ExportedBackbone, engine: OnnxEngine) -> Extraction:
    space = FeatureSpace(settings().cache, backbone, engine)
    return extract(dataset, space, backbone.preprocessing, engine, threads=settings().threads)


def _usable(extraction: Extraction, rows: Any) -> Any:
    return rows[extraction.usable[rows]]


def _evaluate(dataset: Dataset, said: Any, rows: Any) -> Evaluation:
    return evaluate(said, dataset.labels[rows], dataset.classes, seed=0)
