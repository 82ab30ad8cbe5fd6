"""Which of several folders are splits, by what lies in them and by their names where these say it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vizsla.data.dataset import Split
from vizsla.data.split_names import split_of, splits_of
from vizsla.data.tree import Folder
from vizsla.data.unlabelled import LAYOUT
from vizsla.errors import DataError

_SESSION = re.compile(
    r"(?:session|shoot|day|date|week|trip|visit|batch|part|set|seq|sequence|series|video|clip|cam|camera|view|roll|burst|"
    r"take|scene|dir|folder)(?:[\W_]*\d+|[\W_]+[a-z])|\d[\d\W_]{3,}|\d{3}[a-z0-9_]{5}",
    re.IGNORECASE,
)
"""Names of folders that part the pictures of one class by when or how they were taken: ``session 2``, ``2024-05-01``,
``100CANON`` (JEITA CP-3461, DCF)."""


def splits_among(children: list[Folder], root: Path) -> dict[Folder, Split]:
    """The folders that are splits; none where the children are classes.

    A folder is a split where its name is about nothing else, or says which split it is and differs from another by
    that word alone, or holds mostly the same folders as another.

    Raises
    ------
    DataError
        Where none is the train split, where folders hold the same folders and no name says why, and where the folders
        are whole data sets.
    """
    parents = [child for child in children if child.is_parent]
    inside = {parent: {below.name for below in trail_of(parent, parents)[-1].inside} for parent in parents}
    sharing = _sharing(inside)
    names = [child.name for child in children]
    meant, plain = splits_of(names), splits_of(names, plainly=True)
    splits = {
        parent: split
        for parent in parents
        if (split := meant[parent.name]) and (plain[parent.name] or parent in sharing)
    }
    unnamed = [parent for parent in sharing if parent not in splits]
    others = [child for child in children if not meant[child.name]]
    if others and parents and all(are_sessions(parent) for parent in parents):
        return {}
    if "train" in splits.values():
        return splits
    _refuse_sets_side_by_side(children, root)
    if splits and (unnamed or len(set(splits.values())) > 1 or len(splits) == len(children)):
        hint = f"; is {unnamed[0].name}/, which holds the same folders, the train split?" if unnamed else ""
        raise DataError(
            f"There is no train folder beside {in_words(f'{folder.name}/' for folder in splits)}.",
            where=root,
            allowed=LAYOUT,
            do="add train/ with a folder for each class, or name a folder that holds the classes themselves" + hint,
        )
    if unnamed:
        same = ", ".join(sorted(inside[unnamed[0]])[:5])
        raise DataError(
            f"{in_words(f'{folder.name}/' for folder in unnamed)} hold the same folders ({same}), and nothing says "
            "whether they are splits or classes.",
            where=root,
            allowed=LAYOUT,
            do="where they are splits, name them train, valid and test; where one of them is the data set, name it: "
            f"{root / unnamed[0].path}; where they are parts of it, put the pictures of each class into one folder; "
            "where they are the classes, move the pictures up into them",
        )
    return {}


def are_splits_inside(children: list[Folder]) -> bool:
    """Whether the classes are outside and their splits inside: ``daisy/train``, ``daisy/test``."""
    parents = [child for child in children if child.is_parent]
    inside = [below for parent in parents for below in parent.inside]
    return (
        not all(split_of(child.name, plainly=True) for child in children)
        and all(split_of(below.name, plainly=True) and not below.is_parent for below in inside)
        and any(len({split_of(below.name) for below in parent.inside}) > 1 for parent in parents)
    )


def _sharing(inside: dict[Folder, set[str]]) -> list[Folder]:
    """Those of several folders that hold mostly the same folders."""
    largest = max(inside.values(), key=len, default=set())
    same = [
        folder
        for folder, names in inside.items()
        if len(names & largest) >= 2 and 3 * len(names & largest) >= 2 * len(names)
    ]
    return same if len(same) > 1 else []


def trail_of(folder: Folder, beside: Sequence[Folder]) -> list[Folder]:
    """A split's folder and those to look through below it: a doubled one, one that is alone in every split, or the data
    set once more."""
    trail, names = [folder], [other.name.lower() for other in beside]
    while len(folder.inside) == 1 and folder.inside[0].is_parent:
        only = folder.inside[0]
        alone = all(len(other.inside) == 1 and other.inside[0].is_parent for other in beside)
        if not (alone or only.name.lower() in {folder.name.lower(), *names} or split_of(only.name, plainly=True)):
            break
        beside = [other.inside[0] for other in beside] if alone else [only]
        trail.append(folder := only)
    return trail


def _refuse_sets_side_by_side(children: list[Folder], root: Path) -> None:
    """Folders of whole data sets must not be taken for classes."""
    for child in children if len(children) > 1 else ():
        if len({split_of(below.name, plainly=True) for below in child.inside if below.is_parent} - {None}) > 1:
            raise DataError(
                f"This looks like the folder above a data set: {child.name}/ holds splits and not pictures.",
                where=root,
                allowed=LAYOUT,
                do=f"name the data set itself: {root / child.path}",
            )


def are_sessions(folder: Folder) -> bool:
    """Whether the folders in a class's folder part its pictures by when they were taken."""
    return bool(folder.inside) and all(map(_is_session, folder.inside))


def _is_session(folder: Folder) -> bool:
    """Whether a folder's name is a session's, and those in it, if any, part it further: ``2024/05``."""
    return _SESSION.fullmatch(folder.name) is not None and all(
        below.name.isdigit() or _is_session(below) for below in folder.inside
    )


def in_words(names: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
