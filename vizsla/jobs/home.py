"""Whether the folder of the jobs is the mirror of a bucket, and that bucket."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vizsla.errors import VizslaError
from vizsla.settings import settings

if TYPE_CHECKING:
    from vizsla.jobs.bucket import BucketHome

LAG_SECONDS = 15.0
"""How much later than in a folder an answer may come by way of a bucket: a turn of each side, and what they move."""


def bucket_home(home: Path) -> BucketHome | None:
    """The bucket whose mirror a folder of jobs is; None for a folder that is none.

    Raises
    ------
    VizslaError
        When nothing that speaks to buckets is installed, or the address names none.
    """
    now = settings()
    if now.bucket is None or home.absolute() != now.home:
        return None
    from vizsla.jobs.bucket import opened  # with all that reads data: only where it is wanted

    return opened(now.bucket, now.home)


def job_with_model(name: str) -> Path:
    """Where the job of this name is, if there is one; of a bucket its model is brought here.

    Raises
    ------
    VizslaError
        When the bucket does not answer as it should.
    """
    home = settings().home
    if "/" not in name and (bucket := bucket_home(home)) is not None:
        bucket.refresh(name)
        bucket.fetch(name, "model")
    return home / name


def lag(home: Path) -> float:
    """Seconds for which what another process answers may be on its way."""
    return 0.0 if bucket_home(home) is None else LAG_SECONDS


def discard(job: Path) -> None:
    """Delete a job that was never begun, here and in its bucket."""
    shutil.rmtree(job, ignore_errors=True)
    if (bucket := bucket_home(job.parent)) is not None:
        with contextlib.suppress(VizslaError):
            bucket.remove(job.name)
