"""Class folders: ``root/class/picture`` or ``root/split/class/picture``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from vizsla.data.dataset import Split
from vizsla.data.listing import Listing
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


def list_folder(root: Path) -> Listing:
    """List a folder of labelled pictures.

    A class is a folder; its name is the label. Folders named train, valid (val, validation) and test are taken
    as splits. Pictures are known by their file name ending (in any case); hidden files are passed over.

    Raises
    ------
    DataError
        When there is no such folder, it holds no pictures, it has splits but no train, it is the folder above a data
        set, or a class has a name that is no text.
    """
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
    if split_folders and "train" not in split_folders.values():
        _refuse_without_train(root, split_folders)
        split_folders = {}
    notes = []
    rows: list[tuple[str, str, Split | None]] = []
    others = 0
    if split_folders:
        passed = [entry.name for entry in _folders(root) if entry not in split_folders]
        if passed:
            notes.append(f"Passed over, beside the splits: {', '.join(passed)}.")
    folders: list[tuple[Path, Split | None]] = list(split_folders.items()) or [(root, None)]
    if not split_folders:
        _refuse_the_folder_above(root)
    start = len(str(root)) + 1 if str(root) != "." else 0
    found: Counter[str] = Counter()
    for folder, split in folders:
        for class_folder in _folders(folder):
            label = _label(class_folder)
            before = len(rows)
            for file in _files(str(class_folder)):
                if os.path.splitext(file)[1].lower() in SUFFIXES:
                    rows.append((file[start:].replace(os.sep, "/"), label, split))
                else:
                    others += 1
            found[label] += len(rows) - before
    if not rows:
        raise DataError(
            "There is no picture in this folder.",
            where=root,
            allowed=f"{_LAYOUT}; file names ending in {' '.join(sorted(SUFFIXES))}",
            do=_hint(root),
        )
    if others:
        notes.append(f"{others:,} file{'s' * (others > 1)} without a picture's name ending passed over.")
    empty = [label for label, count in found.items() if not count]
    if empty:
        notes.append(f"Passed over, because no picture is inside: {', '.join(empty)}.")
    rows.sort(key=lambda row: row[0])
    return Listing(
        name=root.resolve().name,
        root=root,
        paths=[path for path, _, _ in rows],
        labels=[label for _, label, _ in rows],
        splits=[split for _, _, split in rows],
        notes=notes,
    )


def _label(folder: Path) -> str:
    try:
        folder.name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            "The name of this class folder is no text: its bytes are not UTF-8.",
            where=str(folder).encode("utf-8", "backslashreplace").decode(),
            do="rename the folder (convmv converts whole trees)",
        ) from error
    return folder.name


def _refuse_without_train(root: Path, split_folders: Mapping[Path, Split]) -> None:
    """Folders of splits must not be taken for classes; one class that is called test may be."""
    if len(set(split_folders.values())) < 2 and set(_folders(root)) != set(split_folders):
        return
    names = " and ".join(f"{entry.name}/" for entry in split_folders)
    raise DataError(
        f"There is no train folder beside {names}.",
        where=root,
        allowed=_LAYOUT,
        do="add train/ with a folder for each class, or name a folder that holds the classes themselves",
    )


def _refuse_the_folder_above(root: Path) -> None:
    """Folders of whole data sets must not be taken for classes."""
    inside = {entry.name: {below.name.lower() for below in _folders(entry)} for entry in _folders(root)}
    sets = [name for name, below in inside.items() if len({SPLIT_FOLDERS.get(n) for n in below} - {None}) >= 2]
    if sets:
        raise DataError(
            f"This looks like the folder above a data set: {sets[0]}/ holds splits and not pictures.",
            where=root,
            allowed=_LAYOUT,
            do=f"name the data set itself: {root / sets[0]}",
        )


def _folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in _scan(folder) if entry.is_dir()]


def _files(folder: str) -> Iterator[str]:
    for entry in _scan(folder):
        if entry.is_dir(follow_symlinks=False):  # a link to a folder could lead in a circle
            yield from _files(entry.path)
        else:
            yield entry.path


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
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
