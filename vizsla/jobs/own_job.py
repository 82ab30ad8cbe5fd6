"""A job as its executor holds it."""

from __future__ import annotations

from dataclasses import dataclass

from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.lock import ControllerLock
from vizsla.jobs.rule_watch import RuleWatch
from vizsla.jobs.spec import TrainingJobSpec


@dataclass
class OwnJob:
    """A job that an executor controls: waiting, or running."""

    job: JobDirectory
    lock: ControllerLock
    spec: TrainingJobSpec
    running: bool = False
    rules: RuleWatch | None = None
