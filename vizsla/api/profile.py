"""``vizsla.profile``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vizsla.workflow.profile import ProfileResult


def profile(job: str | os.PathLike[str], *, parameters: Mapping[str, Mapping[str, Any]] | None = None) -> ProfileResult:
    """Where the time and the machine went in a job that has ended or runs, and what to change.

    Parameters
    ----------
    job:
        The job's name, or its folder.
    parameters:
        Parameters of rules by rule, such as ``{"StepOutlier": {"stddev": 5}}``.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not.
    JobError
        When there is no such job, or it was not profiled.

    Examples
    --------
    >>> vizsla.profile("flowers").findings  # doctest: +SKIP
    """
    from vizsla.jobs.controller import find
    from vizsla.settings import settings
    from vizsla.workflow.profile import profile_job

    return profile_job(find(os.fspath(job), Path(settings().home)), parameters)
