"""What lies in a folder: its pictures, and the other files that may say what is on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vizsla.data.tree import Folder, read_tree


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


def read_contents(root: Path) -> Contents:
    """Walk through a folder, as :func:`vizsla.data.tree.read_tree` does.

    Raises
    ------
    DataError
        When a folder cannot be listed.
    """
    top, _ = read_tree(root)
    return Contents(root, tuple(sorted(top.walk())), tuple(sorted(_labels(top))))


def _labels(folder: Folder) -> Iterator[str]:
    yield from folder.labels
    for below in folder.folders:
        yield from _labels(below)
