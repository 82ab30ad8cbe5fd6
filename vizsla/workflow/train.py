"""``python -m vizsla.workflow.train``: runs ``fit`` as the job whose directory ``VIZSLA_JOB_DIR`` names.

Started again after a kill, it comes to the same result: computed features are in the cache, the head goes on from its
checkpoint, and everything else follows from the request and the seed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vizsla.errors import UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.parameters import DOCUMENT, speaking
from vizsla.workflow.document import from_job
from vizsla.workflow.fit import fit_in
from vizsla.workflow.logbook import Logbook


def main() -> int:
    """Run the job; the exit code. The reason of a failure goes to ``output/failure``, as SageMaker wants it."""
    folder = os.environ.get("VIZSLA_JOB_DIR")
    try:
        if not folder:
            raise UsageError("VIZSLA_JOB_DIR is not set.", do="start a job with `vizsla train DATA`")
        job = JobDirectory.open(Path(folder))
        try:
            with speaking(DOCUMENT.but(again=f"`vizsla jobs resume {job.name}`")):  # the process may be a notebook's
                fit_in(job, from_job(job.document), Logbook(sys.stdout))
        except VizslaError as error:
            job.write_failure(str(error))
            raise
        finally:
            job.close()
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
