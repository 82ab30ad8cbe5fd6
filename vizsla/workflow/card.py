"""What a saved model says of itself."""

from __future__ import annotations

import hashlib

from vizsla.data import Dataset
from vizsla.evaluation import Evaluation
from vizsla.jobs.directory import JobDirectory
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.training.trained import TrainedHead
from vizsla.workflow import records


def model_card(
    job: JobDirectory,
    dataset: Dataset,
    digest: str,
    backbone: ExportedBackbone,
    engine: OnnxEngine,
    trained: TrainedHead,
    evaluation: Evaluation,
    seed: int,
) -> artifact.ModelCard:
    """The card of what a job trained; ``digest`` tells the data set from others."""
    headline = {k: v for k, v in evaluation.to_dict().items() if k not in ("classes", "confusion", "mistakes")}
    return artifact.ModelCard(
        classes=list(dataset.classes),
        preprocessing=artifact.PreprocessingCard(**backbone.preprocessing.to_dict()),
        backbone=artifact.BackboneCard(
            name=backbone.name,
            weights=backbone.weights,
            sha256=backbone.sha256,
            features=backbone.features,
            engine=engine.name,
            precision=engine.precision,
        ),
        head=trained.head.kind,
        head_sha256=hashlib.sha256(artifact.head_bytes(trained.head)).hexdigest(),
        metrics=headline,
        provenance=artifact.Provenance(
            job=job.name,
            created=job.state.created,
            dataset=dataset.name,
            dataset_sha256=digest,
            seed=seed,
            versions=records.versions(),
            hyperparameters=trained.config.to_dict(),
        ),
    )
