"""A training: the document is a CreateTrainingJob."""

from __future__ import annotations

from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.spec import TrainingJobSpec

KIND = Kind(TrainingJobSpec.read)
