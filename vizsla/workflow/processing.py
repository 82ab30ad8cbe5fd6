"""``python -m vizsla.workflow.processing``: runs an evaluation, explanation or bias analysis as the job whose directory
``VIZSLA_JOB_DIR`` names."""

from __future__ import annotations

import importlib
import sys

from vizsla.errors import JobError
from vizsla.jobs.directory import JobDirectory
from vizsla.workflow.job_process import run_job
from vizsla.workflow.logbook import Logbook

_RUNS = {
    "evaluate": ("vizsla.workflow.evaluate", "evaluate_in"),
    "bias": ("vizsla.workflow.bias", "bias_in"),
    "explain": ("vizsla.workflow.explain", "explain_in"),
}
"""What runs a kind of job."""


def main() -> int:
    """Run the job; the exit code."""
    return run_job(_process, "go on with a job by `vizsla jobs resume JOB`")


def _process(job: JobDirectory) -> None:
    if job.kind not in _RUNS:
        raise JobError(f"A job of the kind {job.kind!r} does not run here.", allowed=", ".join(_RUNS))
    module, name = _RUNS[job.kind]
    getattr(importlib.import_module(module), name)(job, Logbook(sys.stdout))


if __name__ == "__main__":
    sys.exit(main())
