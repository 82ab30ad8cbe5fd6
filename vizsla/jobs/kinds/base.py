"""What a kind of job is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vizsla.jobs.spec import TrainingJobSpec


def _always(spec: TrainingJobSpec) -> bool:
    return True


@dataclass(frozen=True)
class Kind:
    """One row of the table of kinds. Its module in :mod:`vizsla.jobs.kinds` is named like it and calls it ``KIND``.

    A job of a kind is submitted with its document and with what that document is for an executor:
    ``executor.submit(KIND.spec(document), "flowers", kind="transform", document=document)``.
    """

    spec: Callable[[dict[str, Any]], TrainingJobSpec]
    """The document as an executor runs it, and as it is shown and recorded: command, hyperparameters, channels, tags;
    a :class:`~vizsla.errors.VizslaError` where it cannot be."""
    resume: str = "vizsla jobs resume {job}"
    """What a person types to go on with a job."""
    is_process: Callable[[TrainingJobSpec], bool] = _always
    """Whether an executor can run such a job; what is no single process is run by its own verb."""
    leaves_model: bool = True
    """Whether a job that completes without a model is told so."""
    trials: str | None = None
    """The file in ``output/`` whose trials are recorded below the job's own run, where it has any."""
