"""Class folders: ``root/class/picture`` or ``root/split/class/picture``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vizsla.data.dataset import SPLITS, Dataset, Split
from vizsla.data.split import DEFAULT_SHARE, carve
from vizsla.errors import DataError
from vizsla.images.decode import SUFFIXES

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""Folder names (in any case) that mean a split."""

_LAYOUT = "DATA/<class>/<picture> or DATA/train|valid|test/<class>/<picture>"


def read_folder(root: str | os.PathLike[str], *, seed: int = 0) -> Dataset:
    """Read a folder of labelled pictures into a table.

    A class is a folder; its name is the label. Folders named train, valid (val, validation) and test are taken
    as splits; a split that is missing is drawn from train, stratified by class, and the notes say so. Pictures
    are known by their file name ending (in any case); hidden files are passed over.

    Raises
    ------
    DataError
        When there is no such folder, it holds no pictures, or one picture lies outside every class.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(
            "There is no such folder." if not root.exists() else "This is not a folder.",
            where=root,
            allowed=f"a folder laid out as {_LAYOUT}",
        )
    split_folders = {
        entry: SPLIT_FOLDERS[entry.name.lower()]
        for entry in _folders(root)
        if entry.name.lower() in SPLIT_FOLDERS and any(_folders(entry))
    }
    if "train" not in split_folders.values():
        split_folders = {}
    notes = []
    rows: list[tuple[str, str, Split]] = []
    others = 0
    if split_folders:
        passed = [entry.name for entry in _folders(root) if entry not in split_folders]
        if passed:
            notes.append(f"Passed over, beside the splits: {', '.join(passed)}.")
    folders: list[tuple[Path, Split]] = list(split_folders.items()) or [(root, "train")]
    for folder, split in folders:
        for class_folder in _folders(folder):
            for file in _files(class_folder):
                if file.suffix.lower() in SUFFIXES:
                    rows.append((file.relative_to(root).as_posix(), class_folder.name, split))
                else:
                    others += 1
    if not rows:
        raise DataError(
            "There is no picture in this folder.",
            where=root,
            allowed=f"{_LAYOUT}; file names ending in {' '.join(sorted(SUFFIXES))}",
            do=_hint(root),
        )
    if others:
        notes.append(f"{others:,} files without a picture's name ending were passed over.")
    rows.sort()
    classes = tuple(sorted({label for _, label, _ in rows}))
    position = {label: i for i, label in enumerate(classes)}
    paths = [path for path, _, _ in rows]
    labels = np.array([position[label] for _, label, _ in rows], np.int32)
    splits = np.array([SPLITS.index(split) for _, _, split in rows], np.int8)
    missing = [split for split in SPLITS[1:] if split not in split_folders.values()]
    if missing:
        splits = carve(paths, labels, splits, missing, seed)
        notes.append(
            f"No {' and no '.join(missing)} folder: {DEFAULT_SHARE:.0%} of every class "
            f"{'each ' if len(missing) > 1 else ''}was drawn for it (seed {seed})."
        )
    return Dataset(root.resolve().name, root, classes, paths, labels, splits, tuple(notes))


def _folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in _scan(folder) if entry.is_dir()]


def _files(folder: Path) -> Iterator[Path]:
    for entry in _scan(folder):
        if entry.is_dir(follow_symlinks=False):  # a link to a folder could lead in a circle
            yield from _files(Path(entry))
        else:
            yield Path(entry)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        raise DataError(f"The folder cannot be listed: {error.strerror}.", where=folder) from error


def _hint(root: Path) -> str:
    loose = sum(entry.is_file() and Path(entry).suffix.lower() in SUFFIXES for entry in _scan(root))
    if loose:
        return f"{loose:,} pictures lie directly in the folder: move them into one folder for each class"
    return "check the path, or put the pictures of each class into a folder of its own"
