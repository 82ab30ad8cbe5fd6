"""What a folder's layout leaves unused, and what may be meant otherwise than it is read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vizsla.findings import Finding, FindingFile

IDS = ("stray-pictures", "unlabelled-pictures", "unused-folders", "repeated-classes", "nested-classes", "empty-folders")
"""The findings of this file."""

_MOST = 12

Places = Mapping[str, Sequence[str]]
"""Folders (as a person would name them) and the pictures that lie in each."""


def stray_pictures(places: Places) -> Finding:
    """Pictures beside folders, where only what lies in a class's folder has a label."""
    return _finding(
        "stray-pictures",
        "Pictures beside the folders",
        f"{_pictures(places)} directly in {_named(places)}, beside the folders that are read, and {_unused(places)}.",
        "move them into the folder of their class",
        places,
    )


def unlabelled_pictures(places: Places, root: Path) -> Finding:
    """Pictures in a folder without class folders, beside splits that have some."""
    first = shlex.quote(str(root / next(iter(places))))
    return _finding(
        "unlabelled-pictures",
        "Pictures without a label",
        f"{_pictures(places)} in {_named(places)} without class folders and {_unused(places)}: nothing says what they "
        "show.",
        "put those whose class is known into a folder for each class; "
        f"`vizsla predict MODEL {first}` names their classes once a model is trained",
        places,
    )


def unused_folders(places: Places) -> Finding:
    """Class folders under a name that means no split, beside splits."""
    return _finding(
        "unused-folders",
        "Folders beside the splits",
        f"{_pictures(places)} in {_named(places)} and {_unused(places)}: the name does not say which split this is.",
        "rename the folder so that its name says train, valid or test, or leave it as it is",
        places,
    )


def repeated_classes(places: Places) -> Finding:
    """A folder that holds the classes again, beside them: an older copy, or one more unpacking."""
    return _finding(
        "repeated-classes",
        "Classes within a folder beside them",
        f"{_pictures(places)} in {_named(places)} and {_unused(places)}: the folders in it have the names of the "
        "classes beside it.",
        "move the pictures into the class folders if they belong to the data, or take the folder away",
        places,
    )


def nested_classes(folders: Mapping[str, Sequence[str]]) -> Finding:
    """Class folders with folders inside, whose names might have been meant as the classes."""
    shown = [f"{place} (with {_some([f'{name}/' for name in inside], 3)} inside)" for place, inside in folders.items()]
    return Finding(
        "nested-classes",
        "warning",
        "Classes with folders inside",
        f"The outer folders are taken as the classes: {_some(shown, 4)}. All pictures below count for them.",
        "if the inner folders are the classes, move them up to where the outer ones are",
    )


def empty_folders(names: Sequence[str]) -> Finding:
    """Folders without a picture where classes are expected."""
    return Finding(
        "empty-folders",
        "warning",
        "Folders without a picture",
        f"No picture is inside, so that {'this is no class' if len(names) == 1 else 'these are no classes'}: "
        f"{_some(names)}.",
        "add pictures, or take the folder away",
    )


def _finding(name: str, title: str, evidence: str, fix: str, places: Places) -> Finding:
    files = tuple(
        FindingFile(None, path, "", "", f"in {place}") for place, pictures in places.items() for path in pictures
    )
    return Finding(name, "warning", title, evidence, fix, files)


def _pictures(places: Places) -> str:
    total = sum(map(len, places.values()))
    return "1 picture lies" if total == 1 else f"{total:,} pictures lie"


def _unused(places: Places) -> str:
    return "is not used" if sum(map(len, places.values())) == 1 else "are not used"


def _named(places: Places) -> str:
    if len(places) == 1:
        return next(iter(places))
    return _some([f"{place} ({len(pictures):,})" for place, pictures in places.items()])


def _some(names: Sequence[str], most: int = _MOST) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
