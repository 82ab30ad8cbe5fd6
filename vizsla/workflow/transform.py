"""``python -m vizsla.workflow.transform``: a batch transform, as the job whose directory ``VIZSLA_JOB_DIR`` names."""

from __future__ import annotations

import os
import sys

from vizsla.batch.document import TransformJob
from vizsla.jobs.directory import JobDirectory
from vizsla.settings import settings
from vizsla.workflow.batch_transform import transform_in
from vizsla.workflow.job_process import run_job


def main() -> int:
    """Run the job; the exit code."""
    return run_job(_transform, "start a job with `vizsla transform MODEL INPUT`")


def _transform(job: JobDirectory) -> None:
    if settings().bucket is None:
        os.environ["VIZSLA_HOME"] = str(job.path.parent)  # the process runs in the job's folder
    transform_in(job, TransformJob.read(job.document))


if __name__ == "__main__":
    sys.exit(main())
