"""Which folders are splits and which are classes: read from what lies where, and from names where these say it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vizsla.data.checks import layout
from vizsla.data.checks.finding import Finding
from vizsla.data.dataset import Split
from vizsla.data.split_names import SPLIT_FOLDERS, split_of, splits_of
from vizsla.data.tree import Folder
from vizsla.errors import DataError

LAYOUT = "DATA/<class>/<picture> or DATA/train|valid|test/<class>/<picture>"

_SESSION = re.compile(
    r"(?:session|shoot|day|date|week|trip|visit|batch|part|set|seq|sequence|series|video|clip|cam|camera|view|roll|burst|"
    r"take|scene|dir|folder)[\W_]*(?:\d+|[a-z])|\d[\d\W_]{3,}|\d{3}[a-z0-9_]{5}",
    re.IGNORECASE,
)
"""Names of folders that part the pictures of one class by when or how they were taken: ``session 2``, ``2024-05-01``,
``100CANON`` (JEITA CP-3461, DCF)."""


@dataclass
class Reading:
    """What was read: pictures by label and split, sentences about how, and what was left unused, by place."""

    root: Path
    classes: list[tuple[str, list[str], Split | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stray: dict[str, list[str]] = field(default_factory=dict)
    unlabelled: dict[str, list[str]] = field(default_factory=dict)
    unused: dict[str, list[str]] = field(default_factory=dict)
    nested: dict[str, list[str]] = field(default_factory=dict)
    empty: list[Folder] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """One for each kind of thing that a person should know of."""
        labels = {unicodedata.normalize("NFC", label) for label, _, _ in self.classes}
        empty = [folder.path for folder in self.empty if folder.name not in labels]
        kinds = (
            (layout.stray_pictures, self.stray),
            (layout.unlabelled_pictures, self.unlabelled),
            (layout.unused_folders, self.unused),
            (layout.nested_classes, self.nested),
        )
        found = [make(places) for make, places in kinds if places]
        return [*found, layout.empty_folders(empty)] if empty else found

    def place(self, folder: Folder) -> str:
        """How to name a folder to a person."""
        return f"{folder.path or self.root.resolve().name}/"

    def add_class(self, folder: Folder, split: Split | None) -> None:
        """Take a folder as a class, with all that lies below it."""
        self.classes.append((folder.label, list(folder.walk()), split))
        inside = [below.name for below in folder.inside]
        if folder.is_parent and len(inside) > 1 and not _are_sessions(inside):
            self.nested[self.place(folder)] = inside

    def look_at(self, folder: Folder) -> None:
        """Write down what lies in a folder beside the folders with pictures."""
        if folder.pictures and folder.inside:
            self.stray[self.place(folder)] = folder.pictures
        self.empty += [below for below in folder.folders if not below.total and not below.has_system_folders]


def read_layout(top: Folder, root: Path) -> Reading:
    """Find the splits and classes below a folder.

    Folders are splits where their names say so, or where several hold the same folders and their names tell which is
    which. A doubled folder, and one that holds all the others, is looked through, with a note. ``class/train`` and
    ``class/test`` are splits, too.

    Raises
    ------
    DataError
        Where folders could be splits or classes, there is no train split, the folder holds several data sets, or
        nothing labels the pictures.
    """
    reading = Reading(root)
    _read(top, reading)
    labels = {label for label, _, _ in reading.classes}
    if labels and all(split_of(label, plainly=True) for label in labels):
        raise DataError(
            f"{_and(sorted(labels))} hold{'s' * (len(labels) == 1)} pictures and no class folders: nothing says what "
            "they show.",
            where=root,
            allowed=LAYOUT,
            do="put the pictures into a folder for each class, or name a table with a column path and a column label",
        )
    return reading


def _read(folder: Folder, reading: Reading) -> None:
    reading.look_at(folder)
    children = folder.inside
    _refuse_sets_side_by_side(children, reading.root)
    if _are_split_inside(children):
        _read_split_classes(children, reading)
    elif splits := _splits(children, reading.root):
        _read_splits(children, splits, reading)
    elif len(children) == 1 and children[0].is_parent:
        reading.notes.append(f"Read from {children[0].path}/, as no other folder holds pictures.")
        _read(children[0], reading)
    else:
        for child in children:
            reading.add_class(child, None)


def _read_splits(children: list[Folder], splits: dict[Folder, Split], reading: Reading) -> None:
    if any(folder.name.lower() not in SPLIT_FOLDERS for folder in splits):
        meant = ", ".join(f"{folder.name}/ is {split}" for folder, split in splits.items())
        reading.notes.append(f"Read as splits: {meant}.")
    for child in children:
        if child not in splits:
            places = reading.unused if child.is_parent else reading.unlabelled
            places[reading.place(child)] = list(child.walk())
            continue
        for folder in (trail := _trail(child, list(splits))):
            reading.look_at(folder)
        if len(trail) > 1:
            reading.notes.append(f"Read {child.path}/ from {trail[-1].path}/, as nothing else is in it.")
        for below in trail[-1].inside:
            reading.add_class(below, splits[child])


def _read_split_classes(children: list[Folder], reading: Reading) -> None:
    first = next(child for child in children if child.is_parent).inside[0]
    reading.notes.append(f"The splits are read inside the class folders, as in {first.path}/.")
    for child in children:
        if not child.is_parent:
            reading.add_class(child, None)
            continue
        for below in child.inside:
            reading.classes.append((child.label, list(below.walk()), split_of(below.name, plainly=True)))
        if child.pictures:
            reading.stray[reading.place(child)] = child.pictures


def _are_split_inside(children: list[Folder]) -> bool:
    """Whether the classes are outside and their splits inside: ``daisy/train``, ``daisy/test``."""
    parents = [child for child in children if child.is_parent]
    inside = [below for parent in parents for below in parent.inside]
    return (
        not all(split_of(child.name, plainly=True) for child in children)
        and all(split_of(below.name, plainly=True) and not below.is_parent for below in inside)
        and any(len({split_of(below.name) for below in parent.inside}) > 1 for parent in parents)
    )


def _splits(children: list[Folder], root: Path) -> dict[Folder, Split]:
    """The folders that are splits; none where the children are classes."""
    parents = [child for child in children if child.is_parent]
    inside = {parent: {below.name for below in _trail(parent, parents)[-1].inside} for parent in parents}
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
    if others and _are_sessions(set().union(*inside.values())):
        return {}
    if "train" in splits.values():
        return splits
    if splits and (unnamed or len(set(splits.values())) > 1 or len(splits) == len(children)):
        hint = f"; is {unnamed[0].name}/, which holds the same folders, the train split?" if unnamed else ""
        raise DataError(
            f"There is no train folder beside {_and(folder.name for folder in splits)}.",
            where=root,
            allowed=LAYOUT,
            do="add train/ with a folder for each class, or name a folder that holds the classes themselves" + hint,
        )
    if unnamed:
        same = ", ".join(sorted(inside[unnamed[0]])[:5])
        raise DataError(
            f"{_and(folder.name for folder in unnamed)} hold the same folders ({same}), and nothing says whether they "
            "are splits or classes.",
            where=root,
            allowed=LAYOUT,
            do="where they are splits, name them train, valid and test; where they are parts of one data set, put the "
            "pictures of each class into one folder; where they are the classes, move the pictures up into them; or "
            "write a table with a column path and a column label",
        )
    return {}


def _sharing(inside: dict[Folder, set[str]]) -> list[Folder]:
    """Those of several folders that hold mostly the same folders."""
    largest = max(inside.values(), key=len, default=set())
    same = [
        folder
        for folder, names in inside.items()
        if len(names & largest) >= 2 and 3 * len(names & largest) >= 2 * len(names)
    ]
    return same if len(same) > 1 else []


def _trail(folder: Folder, beside: Sequence[Folder]) -> list[Folder]:
    """A split's folder and those to look through below it: a doubled one, or one that is alone in every split."""
    trail = [folder]
    while len(folder.inside) == 1 and folder.inside[0].is_parent:
        only = folder.inside[0]
        alone = all(len(other.inside) == 1 and other.inside[0].is_parent for other in beside)
        if not (alone or only.name.lower() == folder.name.lower() or split_of(only.name, plainly=True)):
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


def _are_sessions(names: Iterable[str]) -> bool:
    names = list(names)
    return bool(names) and all(_SESSION.fullmatch(name) for name in names)


def _and(names: Iterable[str]) -> str:
    *first, last = [f"{name}/" for name in names]
    return f"{', '.join(first)} and {last}" if first else last
