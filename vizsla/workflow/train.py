"""``python -m vizsla.workflow.train``: runs ``fit`` as the job whose directory ``VIZSLA_JOB_DIR`` names.

Started again after a kill, it comes to the same result: computed features are in the cache, the head goes on from its
checkpoint, and everything else follows from the request and the seed.
"""

from __future__ import annotations

import sys

from vizsla.workflow.document import from_job
from vizsla.workflow.fit import fit_in
from vizsla.workflow.job_process import run_job
from vizsla.workflow.logbook import Logbook


def main() -> int:
    """Run the job; the exit code."""
    return run_job(
        lambda job: fit_in(job, from_job(job.document), Logbook(sys.stdout)), "start a job with `vizsla train DATA`"
    )


if __name__ == "__main__":
    sys.exit(main())
