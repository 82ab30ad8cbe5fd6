"""``python -m vizsla.workflow.transform``: a batch transform, as the job whose directory ``VIZSLA_JOB_DIR`` names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vizsla.errors import UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.parameters import DOCUMENT, speaking
from vizsla.transform.document import TransformJob
from vizsla.workflow.batch_transform import transform_in


def main() -> int:
    """Run the job; the exit code. The reason of a failure goes to ``output/failure``."""
    folder = os.environ.get("VIZSLA_JOB_DIR")
    try:
        if not folder:
            raise UsageError("VIZSLA_JOB_DIR is not set.", do="start a job with `vizsla transform MODEL INPUT`")
        directory = JobDirectory.open(Path(folder))
        os.environ["VIZSLA_HOME"] = str(directory.path.parent)  # the process runs in the job's folder
        try:
            with speaking(DOCUMENT.but(again=f"`vizsla jobs resume {directory.name}`")):
                transform_in(directory, TransformJob.read(directory.document))
        except VizslaError as error:
            directory.write_failure(str(error))
            raise
        finally:
            directory.close()
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
