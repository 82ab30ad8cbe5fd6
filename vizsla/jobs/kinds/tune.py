"""A search: the document is a CreateHyperParameterTuningJob, with what each trial is as ``TrainingJobDefinition``.

A search for heads is one process of the built-in training. The trials of a script are jobs of their own, which the
verb's process controls.
"""

from __future__ import annotations

from typing import Any

from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.spec import TrainingJobSpec


def _definition(document: dict[str, Any]) -> TrainingJobSpec:
    return TrainingJobSpec.read(document["TrainingJobDefinition"])


KIND = Kind(
    _definition,
    resume="vizsla tune resume {job}",
    is_process=lambda spec: spec.algorithm_specification.is_builtin,
    trials="tuning.json",
)
