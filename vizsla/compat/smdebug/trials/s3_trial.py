"""A trial in a bucket."""

from __future__ import annotations

import tempfile
from pathlib import Path

from smdebug.trials.trial import Trial
from vizsla.data import s3
from vizsla.settings import settings


class S3Trial(Trial):
    """What was recorded below ``s3://bucket/prefix``, fetched once when it is opened."""

    def __init__(
        self,
        name: str,
        bucket_name: str,
        prefix_name: str,
        range_steps: tuple[int, int | None] | None = None,
        **_: object,
    ) -> None:
        super().__init__(fetched(f"s3://{bucket_name}/{prefix_name}"), name, range_steps, shows_all=False)


def fetched(address: str) -> Path:
    """A copy of a folder of a bucket.

    Raises
    ------
    SourceError
        When it cannot be reached.
    """
    folder = Path(tempfile.mkdtemp(prefix="vizsla-trial-"))
    s3.copy(address, settings().cache, folder)
    return folder
