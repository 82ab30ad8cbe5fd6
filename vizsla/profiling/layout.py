"""Where a job's profile lies, laid out as SageMaker's profiler output. The standard library alone."""

from __future__ import annotations

import time
from pathlib import Path

OUTPUT = "output/profiler/profiler-output"
"""Below the job: ``system/``, ``framework/``, ``profiler-reports/`` and the page."""
NODE = "algo-1"
REPORT, REPORTS, SUMMARY = "profiler-report.html", "profiler-reports", "profiler-report.json"
CLOCK = "VIZSLA_PROFILER_CLOCK"
"""The variable that a process of a profiled job finds: nanoseconds from the monotonic clock to Unix time. All processes
of an attempt reckon with the same, so that no jump of the wall clock reaches a profile."""


def output_of(job: Path) -> Path:
    """The folder of a job's profile."""
    return job / OUTPUT


def hour_of(seconds: float) -> str:
    """``YYYYMMDDHH``, UTC: SageMaker's name for the folder of an hour."""
    return time.strftime("%Y%m%d%H", time.gmtime(seconds))


def minute_file(folder: Path, seconds: float, node: str = NODE) -> Path:
    """The file of the minute that holds this moment (Unix time)."""
    return folder / hour_of(seconds) / f"{int(seconds // 60) * 60}.{node}.json"
