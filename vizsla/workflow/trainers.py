"""Which trainer a request means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from vizsla.jobs.directory import JobDirectory
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.trainer import FineTuner, launcher_for
from vizsla.training.head_trainer import HeadTrainer
from vizsla.training.trainer import Frozen, Trainer
from vizsla.workflow.fine_tuning_search import FineTuningSearch
from vizsla.workflow.head_search import HeadSearch
from vizsla.workflow.observer import Observer
from vizsla.workflow.request import FitRequest


def trainer_for(
    job: JobDirectory,
    request: FitRequest,
    specs: Sequence[BackboneSpec],
    frozen_of: Callable[[BackboneSpec], Frozen],
    pictures: Pictures,
    observer: Observer,
    *,
    end: float | None,
    backbone_end: float | None,
) -> Trainer:
    """Of a head or of the backbone, one or a search.

    Parameters
    ----------
    specs:
        The backbone that trains; several where the trials of a search begin with several.
    frozen_of:
        What a trainer begins with, of a backbone.
    end, backbone_end:
        When training must end (``time.monotonic()``): of a head; and where a backbone must still be exported and run
        over the test pictures.
    """
    config, tune = request.head, request.tune
    if isinstance(config, FineTuneConfig):
        if tune is not None:
            launcher = partial(launcher_for, request.executor, job.checkpoints)
            given = specs, frozen_of, pictures, observer, launcher, request.executor
            return FineTuningSearch(job, config, tune, *given, backbone_end)
        return FineTuner(
            job.checkpoints,
            config,
            specs[0],
            pictures,
            settings().cache,
            threads=settings().threads,
            executor=request.executor,
            deadline=backbone_end,
            on_progress=observer.progress,
            note=observer.note,
        )
    if tune is not None:
        return HeadSearch(job, config, tune, observer, end)
    return HeadTrainer(job.checkpoints, config, observer.note)
