"""A folder of labelled pictures becomes a listing."""

from __future__ import annotations

from pathlib import Path

from vizsla.data.class_folders import read_layout
from vizsla.data.listing import Listing
from vizsla.data.split_folders import LAYOUT
from vizsla.data.split_names import SPLIT_FOLDERS
from vizsla.data.tree import Folder, read_tree
from vizsla.errors import DataError
from vizsla.images import readable_suffixes

__all__ = ["SPLIT_FOLDERS", "list_folder"]


def list_folder(root: Path) -> Listing:
    """List a folder of labelled pictures.

    A class is a folder; its name is the label. Which folders are splits, :func:`vizsla.data.class_folders.read_layout`
    tells. A file is a picture by its name's ending or by its first bytes, also where its format cannot be read here:
    the gate tells of those.

    Raises
    ------
    DataError
        When there is no such folder, it holds no pictures, a class has a name that is no text, or the layout does not
        say what the classes and splits are.
    """
    if not root.is_dir():
        raise DataError(
            "There is no such folder." if not root.exists() else "This is not a folder.",
            where=root,
            allowed=f"a folder laid out as {LAYOUT}",
        )
    top, tally = read_tree(root)
    reading = read_layout(top, root)
    rows = []
    for label, pictures, split in reading.classes:
        _check_name(label, root)
        rows += [(path, label, split) for path in pictures]
    if not rows:
        raise DataError(
            "There is no picture in this folder.",
            where=root,
            allowed=f"{LAYOUT}; file names ending in {' '.join(sorted(readable_suffixes()))}",
            do=_hint(top),
        )
    rows.sort(key=lambda row: row[0])
    return Listing(
        name=root.resolve().name,
        root=root,
        paths=[path for path, _, _ in rows],
        labels=[label for _, label, _ in rows],
        splits=[split for _, _, split in rows],
        notes=[*reading.notes, *tally.notes()],
        findings=reading.findings(),
    )


def _check_name(label: str, root: Path) -> None:
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            "The name of this class folder is no text: its bytes are not UTF-8.",
            where=f"{root}, {label.encode('utf-8', 'backslashreplace').decode()}",
            do="rename the folder (convmv converts whole trees)",
        ) from error


def _hint(top: Folder) -> str:
    if top.pictures:
        return (
            f"{len(top.pictures):,} pictures lie directly in the folder: move them into one folder for each class, or "
            "say where their labels are: a table beside them, or --label-from REGEX where the files' names tell them"
        )
    return "check the path, or put the pictures of each class into a folder of its own"
