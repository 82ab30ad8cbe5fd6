"""The life of a process that runs one of our own jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from vizsla.errors import UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.parameters import DOCUMENT, speaking
from vizsla.profiling import startup


def run_job(work: Callable[[JobDirectory], object], do: str) -> int:
    """Do ``work`` on the job whose directory ``VIZSLA_JOB_DIR`` names; the exit code. The reason of a failure goes to
    ``output/failure``, as SageMaker wants it. ``do`` says what to type where the variable is not set."""
    folder = os.environ.get("VIZSLA_JOB_DIR")
    try:
        if not folder:
            raise UsageError("VIZSLA_JOB_DIR is not set.", do=do)
        job = JobDirectory.open(Path(folder))
        try:
            startup.begin()
            with speaking(DOCUMENT.but(again=f"`vizsla jobs resume {job.name}`")):  # the process may be a notebook's
                work(job)
        except VizslaError as error:
            job.write_failure(str(error))
            raise
        finally:
            job.close()
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        return error.exit_code
    return 0
