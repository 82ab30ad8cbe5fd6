"""Which folders are splits and which are classes: read from what lies where, and from names where these say it."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vizsla.data.checks import layout
from vizsla.data.dataset import Split
from vizsla.data.split_folders import are_sessions, are_splits_inside, in_words, splits_among, trail_of
from vizsla.data.split_names import SPLIT_FOLDERS, says_nothing, says_unlabelled, split_of, splits_of
from vizsla.data.tree import Folder
from vizsla.data.unlabelled import unlabelled
from vizsla.findings import Finding


@dataclass
class ClassFolders:
    """Pictures by label and split, sentences about how they were read, and pictures that are not used, by kind (of
    :data:`vizsla.data.checks.layout.IDS`) and place."""

    root: Path
    classes: list[tuple[str, list[str], Split | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unused: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(dict))
    nested: dict[str, list[str]] = field(default_factory=dict)
    empty: list[Folder] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """One for each kind of thing that a person should know of."""
        labels = {unicodedata.normalize("NFC", label) for label, _, _ in self.classes}
        empty = [folder.path for folder in self.empty if folder.name not in labels]
        findings = [
            layout.unused_pictures(kind, self.unused[kind], self.root) for kind in layout.IDS if kind in self.unused
        ]
        findings += [layout.nested_classes(self.nested)] if self.nested else []
        return [*findings, layout.empty_folders(empty)] if empty else findings

    def place(self, folder: Folder) -> str:
        """How to name a folder to a person."""
        return f"{folder.path or self.root.resolve().name}/"

    def add_classes(self, folders: Sequence[Folder], split: Split | None) -> None:
        """Take folders as classes, less those whose names say that nothing in them has a label."""
        named = [folder for folder in folders if not says_unlabelled(folder.name)]
        for folder in folders:
            if folder in named or len(named) < 2:  # unlabelled goods may be what is to be told from labelled ones
                self.add_class(folder, split)
            else:
                self.unused["unlabelled-pictures"][self.place(folder)] = list(folder.walk())

    def add_class(self, folder: Folder, split: Split | None) -> None:
        """Take a folder as a class, with all that lies below it."""
        self.classes.append((folder.label, list(folder.walk()), split))
        inside = [below.name for below in folder.inside]
        if folder.is_parent and len(inside) > 1 and not are_sessions(folder):
            self.nested[self.place(folder)] = inside

    def look_at(self, folder: Folder) -> None:
        """Write down what lies in a folder beside the folders with pictures."""
        if folder.pictures and folder.inside:
            self.unused["stray-pictures"][self.place(folder)] = folder.pictures
        self.empty += [below for below in folder.folders if not below.total and not below.has_system_folders]


def read_layout(top: Folder, root: Path) -> ClassFolders:
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
    reading = ClassFolders(root)
    _read(top, reading)
    labels = sorted({label for label, _, _ in reading.classes})
    is_gathering = len(labels) == 1 and says_nothing(labels[0])  # as images/ in DATA/images/<picture>
    if is_gathering or all(splits_of(labels, plainly=True).values()):
        places = [f"{label}/" for label in labels if f"{label}/" not in reading.nested]
        _refuse_unlabelled(places or sorted(reading.unused.get("unlabelled-pictures", ())), top, root)
    return reading


def _refuse_unlabelled(places: list[str], top: Folder, root: Path) -> None:
    if places:
        raise unlabelled(
            f"{in_words(places)} hold{'s' * (len(places) == 1)} pictures and no class folders: nothing says what they "
            "show.",
            root,
            top.walk(),
        )


def _read(folder: Folder, reading: ClassFolders) -> None:
    reading.look_at(folder)
    children = folder.inside
    if are_splits_inside(children):
        _read_split_classes(children, reading)
    elif splits := splits_among(children, reading.root):
        _read_splits(children, splits, reading)
    elif len(children) == 1 and children[0].is_parent and not are_sessions(children[0]):
        reading.notes.append(f"Read from {children[0].path}/, as no other folder holds pictures.")
        _read(children[0], reading)
    else:
        names = {child.name for child in children}
        classes = []
        for child in children:
            if len(names & {below.name for below in child.inside} - {child.name}) > 1:
                reading.unused["repeated-classes"][reading.place(child)] = list(child.walk())
            else:
                classes.append(child)
        reading.add_classes(classes, None)


def _read_splits(children: list[Folder], splits: dict[Folder, Split], reading: ClassFolders) -> None:
    if any(folder.name.lower() not in SPLIT_FOLDERS for folder in splits):
        meant = ", ".join(f"{folder.name}/ is {split}" for folder, split in splits.items())
        reading.notes.append(f"Read as splits: {meant}.")
    for child in children:
        if child not in splits or _is_unlabelled(child):
            kind = "unlabelled-pictures" if _is_unlabelled(child) else "unused-folders"
            reading.unused[kind][reading.place(child)] = list(child.walk())
            continue
        for folder in (trail := trail_of(child, list(splits))):
            reading.look_at(folder)
        if len(trail) > 1:
            reading.notes.append(f"Read {child.path}/ from {trail[-1].path}/, as nothing else is in it.")
        reading.add_classes(trail[-1].inside, splits[child])


def _read_split_classes(children: list[Folder], reading: ClassFolders) -> None:
    first = next(child for child in children if child.is_parent).inside[0]
    reading.notes.append(f"The splits are read inside the class folders, as in {first.path}/.")
    for child in children:
        if not child.is_parent:
            reading.add_class(child, None)
            continue
        for below in child.inside:
            reading.classes.append((child.label, list(below.walk()), split_of(below.name, plainly=True)))
        if child.pictures:
            reading.unused["stray-pictures"][reading.place(child)] = child.pictures


def _is_unlabelled(folder: Folder) -> bool:
    """Whether there are no class folders: the pictures lie in it, or in ``images/`` or a doubled folder in it."""
    while len(folder.inside) == 1 and (says_nothing((only := folder.inside[0]).name) or only.name == folder.name):
        folder = only
    return not folder.is_parent
