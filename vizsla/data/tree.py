"""What lies in a folder: its pictures, folder by folder, and a tally of everything else."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vizsla.data.system_folders import is_system_folder, own_folders
from vizsla.errors import DataError
from vizsla.images import FileType, file_type
from vizsla.images.formats import ENDINGS, HEAD_BYTES

_SIDECARS = frozenset(".txt .json .xml .csv .xmp .aae .npy".split())
"""Endings of what often lies beside each picture: not opened to see whether it is one."""

LABEL_ENDINGS = frozenset(".csv .tsv .json .jsonl .ndjson .parquet .xml .txt .names .cls".split())
"""Endings of files that may say what is on pictures."""


@dataclass(eq=False)
class Folder:
    """One folder. ``path``, ``pictures`` and ``labels`` (what may say what is on them) are relative to the root, with
    forward slashes, as on disk."""

    path: str
    pictures: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    has_system_folders: bool = False

    @property
    def label(self) -> str:
        """The folder's own name as on disk."""
        return self.path.rpartition("/")[2]

    @cached_property
    def name(self) -> str:
        """The folder's own name in Unicode's composed form, to compare."""
        return unicodedata.normalize("NFC", self.label)

    @cached_property
    def total(self) -> int:
        """Pictures in this folder and below."""
        return len(self.pictures) + sum(folder.total for folder in self.folders)

    @cached_property
    def inside(self) -> list[Folder]:
        """The folders in this one that hold pictures."""
        return [folder for folder in self.folders if folder.total]

    @property
    def is_parent(self) -> bool:
        """Whether most of the pictures lie in folders inside."""
        return bool(self.inside) and 2 * len(self.pictures) < self.total

    def walk(self) -> Iterator[str]:
        """All pictures, here and below."""
        yield from self.pictures
        for folder in self.folders:
            yield from folder.walk()


@dataclass
class Tally:
    """What lies beside the pictures: counts of files by ending, of pictures known by their content alone by ending and
    format, of passed over folders by name, and of hidden pictures."""

    others: Counter[str] = field(default_factory=Counter)
    by_content: Counter[tuple[str, str]] = field(default_factory=Counter)
    system_folders: Counter[str] = field(default_factory=Counter)
    hidden: int = 0

    def notes(self) -> list[str]:
        """One sentence each for a person."""
        kinds = {f"{ending} is {name}": count for (ending, name), count in self.by_content.items()}
        rows = (
            ("Passed over, as systems and tools make such folders", "folder", self.system_folders),
            ("Read by their content, whatever the ending of the name", "file", Counter(kinds)),
            ("Passed over, as they are no pictures", "file", self.others),
            ("Passed over, as a name that begins with a dot hides a file", "picture", Counter(hidden=self.hidden)),
        )
        return [f"{why}: {in_counts(counts, unit)}." for why, unit, counts in rows if counts.total()]


def read_tree(root: Path) -> tuple[Folder, Tally]:
    """Walk through a folder. Links to folders are followed unless they lead back up.

    A file is a picture by its name's ending, or, where that says nothing, by its first bytes. Hidden files and folders,
    and those of systems and tools, are passed over.

    Raises
    ------
    DataError
        When a folder cannot be listed.
    """
    tally, top = Tally(), Folder("")
    for _ in _each(top, _scan(root), (str(root.resolve()),), tally, own_folders()):
        pass
    return top, tally


def pictures(root: Path, tally: Tally) -> Iterator[str]:
    """The same walk, of which one folder's names at a time are in memory: the pictures, as paths relative to the root,
    those of a folder after those of the folders in it.

    Raises
    ------
    DataError
        When a folder cannot be listed.
    """
    for folder in _each(Folder(""), _scan(root), (str(root.resolve()),), tally, own_folders()):
        yield from folder.pictures
        folder.pictures.clear()
        folder.folders.clear()


def _each(
    folder: Folder, entries: list[os.DirEntry[str]], trail: tuple[str, ...], tally: Tally, ours: frozenset[str]
) -> Iterator[Folder]:
    """Sort what lies in one folder; it comes when all of it is known, after the folders in it. ``trail`` are the real
    paths from the root to it."""
    prefix = f"{folder.path}/" if folder.path else ""
    for entry in entries:
        if entry.is_dir():
            real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(trail[-1], entry.name)
            if any(f"{place}{os.sep}".startswith(f"{real}{os.sep}") for place in trail):
                continue  # a link to where we come from
            inside = [] if real in ours or is_system_folder(entry.name) else _scan(entry.path)
            if real in ours or is_system_folder(entry.name, {below.name for below in inside}):
                tally.system_folders[entry.name] += 1
                folder.has_system_folders = True
                continue
            below = Folder(prefix + entry.name)
            yield from _each(below, inside, (*trail, real), tally, ours)
            folder.folders.append(below)
            folder.has_system_folders |= below.has_system_folders
            continue
        ending = os.path.splitext(entry.name)[1].lower()
        if entry.name.startswith("."):
            tally.hidden += ending in ENDINGS and not entry.name.startswith("._")  # which macOS makes
        elif ending in ENDINGS:
            folder.pictures.append(prefix + entry.name)
        elif ending in LABEL_ENDINGS:
            folder.labels.append(prefix + entry.name)
            tally.others[ending] += 1
        elif (kind := _type_by_content(entry.path, ending)) is not None and kind.picture:
            folder.pictures.append(prefix + entry.name)
            if kind.readable:
                tally.by_content[ending or "no ending", kind.name] += 1
        else:
            tally.others[ending or "no ending"] += 1
    yield folder


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"The folder cannot be listed: {error.strerror}.", where=folder) from error


def is_picture(file: Path) -> bool:
    """Whether a file is a picture, by its name's ending or by its first bytes."""
    ending = file.suffix.lower()
    return ending in ENDINGS or ((kind := _type_by_content(file, ending)) is not None and kind.picture)


def _type_by_content(path: str | Path, ending: str) -> FileType | None:
    return None if ending in _SIDECARS else type_of_file(path)


def type_of_file(path: str | Path) -> FileType | None:
    """What a file's first bytes say it is; None for what is not known, cannot be read or is no file."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, "rb") as file:
            return file_type(file.read(HEAD_BYTES))
    except OSError:
        return None


def in_counts(counts: Counter[str], unit: str, most: int = 8) -> str:
    """The most frequent first: ``5 files (4 .txt, 1 .mov)``."""
    total = counts.total()
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(most))
    rest = f" and {len(counts) - most:,} more kinds" if len(counts) > most else ""
    return f"{total:,} {unit}{'s' * (total > 1)} ({shown}{rest})"
