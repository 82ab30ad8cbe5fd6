"""Finds the profile that a path of SageMaker's means."""

from __future__ import annotations

from vizsla.errors import JobError
from vizsla.profiling.profile import JobProfile

_PARENTS = 4


def profile_at(path: str) -> JobProfile:
    """The profile of a job's folder or name, of its ``profiler-output`` or what lies above it.

    Raises
    ------
    JobError
        When there is none.
    """
    if str(path).startswith("s3://"):
        from smdebug.trials.s3_trial import fetched

        path = str(fetched(str(path)))
    direct = JobProfile(str(path).removeprefix("file://"))
    if direct.exists:
        return direct
    for folder in list(direct.job.absolute().parents)[:_PARENTS]:
        above = JobProfile(folder)
        if above.exists:
            return above
    if (direct.job / "system").is_dir() or (direct.job / "profiler-output" / "system").is_dir():
        own = direct.job / "profiler-output"
        direct.folder = own if own.is_dir() else direct.job
        return direct
    raise JobError(
        "No profile was recorded there.",
        where=path,
        allowed="a job's name or folder, its profiler-output, or s3://bucket/prefix of a copy",
        do="see `vizsla jobs list`, and whether VIZSLA_PROFILER is off",
    )
