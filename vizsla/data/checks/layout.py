"""What a folder's layout leaves unused, and what may be meant otherwise than it is read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from vizsla.findings import Finding, FindingFile

_KINDS = {
    "stray-pictures": (
        "Pictures beside the folders",
        "{pictures} directly in {places}, beside the folders that are read, and {unused}.",
        "move them into the folder of their class",
    ),
    "unlabelled-pictures": (
        "Pictures without a label",
        "{pictures} in {places} without class folders and {unused}: nothing says what they show.",
        "put those whose class is known into a folder for each class; "
        "`vizsla predict MODEL {first}` names their classes once a model is trained",
    ),
    "unused-folders": (
        "Folders beside the splits",
        "{pictures} in {places} and {unused}: the name does not say which split this is.",
        "rename the folder so that its name says train, valid or test, or leave it as it is",
    ),
    "repeated-classes": (
        "Classes within a folder beside them",
        "{pictures} in {places} and {unused}: the folders in it have the names of the classes beside it.",
        "move the pictures into the class folders if they belong to the data, or take the folder away",
    ),
}
"""Title, evidence and what to do, of pictures that are not used: beside folders, where only what lies in a class folder
has a label; in a folder without class folders beside splits; under a name that means no split; and in a folder
that holds the classes again, as an older copy does."""

IDS = (*_KINDS, "nested-classes", "empty-folders")
"""The findings of this file."""

_MOST = 12

Places = Mapping[str, Sequence[str]]
"""Folders (as a person would name them) and the pictures that lie in each."""


def unused_pictures(kind: str, places: Places, root: Path) -> Finding:
    """Pictures that are not used, of one of the kinds above."""
    title, evidence, fix = _KINDS[kind]
    total = sum(map(len, places.values()))
    named = [f"{place} ({len(pictures):,})" if len(places) > 1 else place for place, pictures in places.items()]
    words = evidence.format(
        pictures="1 picture lies" if total == 1 else f"{total:,} pictures lie",
        places=_some(named),
        unused="is not used" if total == 1 else "are not used",
    )
    files = tuple(
        FindingFile(None, path, "", "", f"in {place}") for place, pictures in places.items() for path in pictures
    )
    first = shlex.quote(str(root / next(iter(places))))
    return Finding(kind, "warning", title, words, fix.format(first=first), files)


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


def _some(names: Sequence[str], most: int = _MOST) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
