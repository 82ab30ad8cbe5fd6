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
from vizsla.workflow.document import as_hyperparameters, from_job
from vizsla.workflow.fit import fit_in
from vizsla.workflow.logbook import Logbook


class _Log(Logbook):
    """Speaks of hyperparameters, where others speak of options."""

    def note(self, text: str) -> None:
        super().note(as_hyperparameters(text))


def main() -> int:
    """Run the job; the exit code. The reason of a failure goes to ``output/failure``, as SageMaker wants it."""
    folder = os.environ.get("VIZSLA_JOB_DIR")
    try:
        if not folder:
            raise UsageError("VIZSLA_JOB_DIR is not set.", do="start a job with `vizsla train DATA`")
        job = JobDirectory.open(Path(folder))
        try:
            fit_in(job, from_job(job.document), _Log(sys.stdout))
        except VizslaError as error:
            job.write_failure(as_hyperparameters(str(error)))
            raise
        finally:
            job.close()
    except VizslaError as error:
        print(f"vizsla: {as_hyperparameters(str(error))}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
