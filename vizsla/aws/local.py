"""What an ``s3://`` address means in a process under ``vizsla aws run``: the folder itself, read without a request."""

from __future__ import annotations

import os
from pathlib import Path

from vizsla.aws.s3.places import path_of

MARK = "VIZSLA_AWS"
"""The variable that such a process finds."""


def local_path_of(address: str) -> Path | None:
    """The path of an address; None in any other process, and for what is no address of a bucket.

    Raises
    ------
    AwsError
        When there is no such bucket here.
    """
    if MARK not in os.environ or not address.startswith("s3://"):
        return None
    return path_of(Path(os.environ["VIZSLA_HOME"]), address)
