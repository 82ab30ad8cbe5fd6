"""A saved model, taken out to be measured: by its path or by the name of the job that made it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vizsla.errors import VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.home import job_with_model
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace


def locate(model: str | os.PathLike[str]) -> Path:
    """The folder or archive that is meant: a path, or the name of a job under ``VIZSLA_HOME``."""
    path = Path(model)
    if path.exists():
        return path
    named = job_with_model(str(model))
    return named if (named / "job.json").is_file() else path


@dataclass(frozen=True)
class OpenModel:
    """A model that was read, its engine, and where the features of its backbone are kept: those of the training, too.

    ``path`` is what was located.
    """

    path: Path
    saved: artifact.SavedModel
    engine: OnnxEngine
    space: FeatureSpace
    backbone: ExportedBackbone

    @classmethod
    def of(cls, model: str | os.PathLike[str]) -> OpenModel:
        """Read and verify a model.

        Raises
        ------
        ModelError
            When there is none, or it is damaged.
        """
        path = locate(model)
        saved = artifact.load(path)
        card, engine = saved.card.backbone, OnnxEngine(saved.backbone)
        engine.check(saved.card.preprocessing.size, card.features, path)
        file = saved.backbone if isinstance(saved.backbone, Path) else path
        backbone = ExportedBackbone(card.name, card.weights, file, card.sha256, saved.preprocessing, card.features)
        return cls(path, saved, engine, FeatureSpace(settings().cache, backbone, engine), backbone)

    @property
    def classes(self) -> list[str]:
        """The classes, in order."""
        return self.saved.card.classes

    def job(self) -> JobDirectory | None:
        """The job that made it, where that is still there: around the model, or of its name under ``VIZSLA_HOME``."""
        name, path = self.saved.card.provenance.job, self.path.absolute()
        for folder in (path, *list(path.parents)[:2], settings().home / name):
            if (folder / "job.json").is_file() and folder.name == name:
                try:
                    return JobDirectory.open(folder)
                except VizslaError:
                    return None
        return None
