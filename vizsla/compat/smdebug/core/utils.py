"""Small functions that scripts import."""

from __future__ import annotations

import os
from pathlib import Path

from vizsla.debugging.store import TENSORS


def is_s3(path: str) -> tuple[bool, str | None, str | None]:
    """Whether a path is an address in a bucket; the bucket and the key."""
    if not path.startswith("s3://"):
        return False, None, None
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return True, bucket, key


def check_dir_exists(path: str) -> None:
    """That a hook may write there.

    Raises
    ------
    RuntimeError
        When there are records already.
    """
    if Path(path).is_dir() and any(Path(path).iterdir()):
        raise RuntimeError(f"The path {path} already exists. Please provide a path that is not in use")


def get_path_to_events_directory(path: str) -> str:
    """Where the tensors of a trial lie."""
    return os.path.join(path, TENSORS)


def match_inc(tname: str, include: list[str]) -> bool:
    """Whether one of the regular expressions matches from the beginning of a name."""
    import re

    return any(re.match(pattern, tname) for pattern in include)


def ensure_dir(file_path: str, is_file: bool = True) -> None:
    """Make a folder, or that of a file."""
    folder = os.path.dirname(file_path) if is_file else file_path
    if folder:
        os.makedirs(folder, exist_ok=True)


def flatten(lis: list[object]) -> list[object]:
    """Lists within lists as one."""
    return [x for part in lis for x in (flatten(part) if isinstance(part, list) else [part])]
