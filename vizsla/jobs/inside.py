"""What a job's own code may use: it knows the job by the variable ``VIZSLA_JOB_DIR``."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from vizsla.jobs.metrics import MetricWriter

_making = threading.RLock()
"""A signal handler may log while this very thread makes the writer: both writers write what they were given."""
_writer: MetricWriter | None = None
"""Of the job that this process belongs to. The variable is read once, as reading it for every value would take as
long as all the rest; see :func:`leave`."""


def log_metric(name: str, value: float, step: int | None = None, epoch: float | None = None) -> bool:
    """Write one value of a metric of the job that this process belongs to.

    Outside a job nothing happens, so that a script runs anywhere unchanged.

    Parameters
    ----------
    value:
        A number, or an array or tensor of one element.

    Returns
    -------
    Whether there is a job that took it.

    Raises
    ------
    UsageError
        When ``value`` is not a number.
    StorageError
        When the disk is full.
    """
    global _writer
    writer = _writer
    if writer is None:
        folder = os.environ.get("VIZSLA_JOB_DIR")
        if not folder:
            return False
        with _making:  # two threads must not make two: what waits in the one forgotten would be lost
            writer = _writer = _writer or MetricWriter(Path(folder) / "metrics.jsonl")
    writer.append(name, value, step, epoch)
    return True


def leave() -> None:
    """Belong to no job any more: of what runs several jobs in one process, one after the other."""
    global _writer
    writer, _writer = _writer, None
    if writer is not None:
        writer.close()
