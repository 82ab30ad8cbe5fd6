"""What lies in a folder: its pictures, and the other files that may say what is on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vizsla.errors import DataError
from vizsla.images.decode import SUFFIXES

LABEL_SUFFIXES = frozenset(".csv .tsv .json .jsonl .ndjson .parquet .xml .txt .names .cls".split())
"""File name endings of what may hold labels."""


@dataclass(frozen=True)
class Contents:
    """Pictures and other files, by their paths relative to ``root`` with forward slashes, in order."""

    root: Path
    pictures: tuple[str, ...]
    files: tuple[str, ...]

    def without(self, files: set[str]) -> Contents:
        """The same, less some files: they are spoken for."""
        return Contents(self.root, self.pictures, tuple(file for file in self.files if file not in files))

    def near(self, *suffixes: str, depth: int = 2) -> list[str]:
        """Files with one of these endings that lie at most ``depth`` folders deep."""
        return [file for file in self.files if file.lower().endswith(suffixes) and file.count("/") <= depth]


def is_picture(path: Path) -> bool:
    """Whether a file's name ends as a picture's does."""
    return path.suffix.lower() in SUFFIXES


def read_contents(root: Path) -> Contents:
    """Walk through a folder; hidden files and folders are passed over.

    Raises
    ------
    DataError
        When a folder cannot be listed.
    """
    start = len(os.path.join(root, ""))
    pictures, files = [], []
    for path in _walk(os.fspath(root), 0):
        suffix = os.path.splitext(path)[1].lower()
        if suffix in SUFFIXES:
            pictures.append(path[start:].replace(os.sep, "/"))
        elif suffix in LABEL_SUFFIXES:
            files.append(path[start:].replace(os.sep, "/"))
    return Contents(root, tuple(sorted(pictures)), tuple(sorted(files)))


def _walk(folder: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"The folder cannot be listed: {error.strerror}.", where=folder) from error
    for entry in visible:
        if entry.is_dir(follow_symlinks=depth < 2):  # a link to a folder could lead in a circle
            yield from _walk(entry.path, depth + 1)
        else:
            yield entry.path
