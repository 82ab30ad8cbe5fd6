"""Ending a job."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vizsla.errors import VizslaError
from vizsla.jobs.controller import executor_of, summaries
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.events import Handle
from vizsla.settings import settings


class StopTrainingAction:
    """Stops the one running job whose name begins with the prefix; nothing where there are several."""

    def __init__(self, rule_name: str, training_job_prefix: str | None = None) -> None:
        self._rule, self._prefix = rule_name, training_job_prefix or ""

    def invoke(self, message: str) -> None:
        """Stop it."""
        home = Path(settings().home)
        running = [s.name for s in summaries(home) if s.status == "InProgress" and s.name.startswith(self._prefix)]
        if len(running) != 1:
            print(f"{self._rule}: {len(running)} running jobs begin with {self._prefix!r}; none is stopped", flush=True)
            return
        job = JobDirectory.open(home / running[0])
        with contextlib.suppress(VizslaError):
            executor_of(job).stop(Handle.of(job), reason=f"the rule {self._rule} spoke: {message}")
