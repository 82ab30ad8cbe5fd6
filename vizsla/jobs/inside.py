"""What a job's own code may use: it knows the job by the variable ``VIZSLA_JOB_DIR``."""

from __future__ import annotations

import os
from pathlib import Path

from vizsla.jobs.metrics import MetricWriter

_writer: tuple[Path, MetricWriter] | None = None


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
    folder = os.environ.get("VIZSLA_JOB_DIR")
    if not folder:
        return False
    path = Path(folder)
    if _writer is None or _writer[0] != path:
        _writer = path, MetricWriter(path / "metrics.jsonl")
    _writer[1].append(name, value, step, epoch)
    return True
