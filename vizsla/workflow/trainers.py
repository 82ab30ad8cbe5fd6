"""Which trainer a request means."""

from __future__ import annotations

from vizsla.jobs.directory import JobDirectory
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.trainer import FineTuner
from vizsla.training.head_trainer import HeadTrainer
from vizsla.training.trainer import Trainer
from vizsla.workflow.fine_tuning_search import FineTuningSearch
from vizsla.workflow.head_search import HeadSearch
from vizsla.workflow.observer import Observer
from vizsla.workflow.request import FitRequest


def trainer_for(
    job: JobDirectory,
    request: FitRequest,
    spec: BackboneSpec,
    pictures: Pictures,
    observer: Observer,
    *,
    end: float | None,
    backbone_end: float | None,
) -> Trainer:
    """Of a head or of the backbone, one or a search. Training must end at ``end`` (``time.monotonic()``), and at
    ``backbone_end`` where a backbone must still be exported and run over the test pictures."""
    config, tune = request.head, request.tune
    if isinstance(config, FineTuneConfig):
        if tune is not None:
            return FineTuningSearch(job, config, tune, spec, pictures, observer, backbone_end)
        return FineTuner(
            job.checkpoints,
            config,
            spec,
            pictures,
            settings().cache,
            threads=settings().threads,
            deadline=backbone_end,
            on_progress=observer.progress,
            note=observer.note,
        )
    if tune is not None:
        return HeadSearch(job, config, tune, observer, end)
    return HeadTrainer(job.checkpoints, config, observer.note)
