"""``python -m vizsla.workflow.processing``: runs an evaluation, explanation or bias analysis as the job whose directory
``VIZSLA_JOB_DIR`` names."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from vizsla.errors import JobError, UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.parameters import DOCUMENT, speaking
from vizsla.workflow.logbook import Logbook

_RUNS = {
    "evaluate": ("vizsla.workflow.evaluate", "evaluate_in"),
    "bias": ("vizsla.workflow.bias", "bias_in"),
    "explain": ("vizsla.workflow.explain", "explain_in"),
}
"""What runs a kind of job."""


def main() -> int:
    """Run the job; the exit code. The reason of a failure goes to ``output/failure``."""
    folder = os.environ.get("VIZSLA_JOB_DIR")
    try:
        if not folder:
            raise UsageError("VIZSLA_JOB_DIR is not set.", do="go on with a job by `vizsla jobs resume JOB`")
        job = JobDirectory.open(Path(folder))
        try:
            if job.kind not in _RUNS:
                raise JobError(f"A job of the kind {job.kind!r} does not run here.", allowed=", ".join(_RUNS))
            module, name = _RUNS[job.kind]
            with speaking(DOCUMENT.but(again=f"`vizsla jobs resume {job.name}`")):
                getattr(importlib.import_module(module), name)(job, Logbook(sys.stdout))
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
