"""A folder of labelled pictures becomes a listing."""

from __future__ import annotations

from pathlib import Path

from vizsla.data.archives import archives_in
from vizsla.data.class_folders import read_layout
from vizsla.data.listing import Listing
from vizsla.data.tree import Folder, Tally, read_tree
from vizsla.data.unlabelled import LAYOUT, unlabelled
from vizsla.errors import DataError
from vizsla.images import readable_suffixes


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
    try:
        reading = read_layout(top, root)
    except DataError as error:
        raise _beside(error, tally) from error
    rows = []
    for label, pictures, split in reading.classes:
        _check_name(label, root)
        rows += [(path, label, split) for path in pictures]
    if not rows:
        raise _beside(_no_rows(top, root), tally)
    rows.sort(key=lambda row: row[0])
    listing = Listing(
        name=root.resolve().name,
        root=root,
        paths=[path for path, _, _ in rows],
        labels=[label for _, label, _ in rows],
        splits=[split for _, _, split in rows],
        notes=[*reading.notes, *tally.notes()],
        findings=reading.findings(),
    )
    listing.layout = f"Class folders; {listing.numbers()}"
    return listing


def _check_name(label: str, root: Path) -> None:
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            "The name of this class folder is no text: its bytes are not UTF-8.",
            where=f"{root}, {label.encode('utf-8', 'backslashreplace').decode()}",
            do="rename the folder (convmv converts whole trees)",
        ) from error


def _no_rows(top: Folder, root: Path) -> DataError:
    if count := len(top.pictures):
        lie = "1 picture lies" if count == 1 else f"{count:,} pictures lie"
        return unlabelled(f"{lie} directly in the folder, and nothing says what they show.", root, top.pictures)
    packed = archives_in(root)
    return DataError(
        "There is no picture in this folder.",
        where=root,
        allowed=f"{LAYOUT}; file names ending in {' '.join(sorted(readable_suffixes()))}",
        do=f"unpack {', '.join(packed[:5])}, or name it in place of the folder"
        if packed
        else "check the path, or put the pictures of each class into a folder of its own",
    )


def _beside(error: DataError, tally: Tally) -> DataError:
    """The error, with what else lies there: it may be what the labels or the pictures are in."""
    return DataError(" ".join([error.what, *tally.notes()]), where=error.where, allowed=error.allowed, do=error.do)
