"""Pictures named one by one, or by the folder that holds them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vizsla.data.contents import read_contents
from vizsla.errors import DataError


def picture_files(paths: Iterable[str]) -> list[str]:
    """The paths, and in the place of a folder the pictures in it and below, in order.

    Raises
    ------
    DataError
        For a folder without a picture.
    """
    return [picture for path in paths for picture in _pictures(path)]


def _pictures(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    inside = [os.path.join(path, name) for name in read_contents(Path(path)).pictures]
    if not inside:
        raise DataError("There is no picture in this folder.", where=path, do="check the path")
    return inside
