"""Which layout a folder has: of what the readers and the class folders say, what covers the pictures counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vizsla.data.class_names import name_classes
from vizsla.data.contents import Contents, read_contents
from vizsla.data.folders import list_folder
from vizsla.data.layouts.candidate import Candidate, candidates_of, no_labels
from vizsla.data.layouts.file_names import list_by_names
from vizsla.data.layouts.registry import FOLDERS, LAYOUTS
from vizsla.data.layouts.remainder import remainder
from vizsla.data.layouts.words import GATHERING, is_without_labels
from vizsla.data.listing import Listing
from vizsla.data.options import SourceOptions
from vizsla.data.table_file import TABLES
from vizsla.errors import DataError, SourceError, UsageError, VizslaError
from vizsla.parameters import spelled

_COVERED = 0.95
"""The share of the pictures in class folders that a table must label to count more than the folders."""
_STRAY = 0.5
"""A reading of less than this share of the pictures of the largest one is no second way to read a folder."""


def list_directory(root: Path, options: SourceOptions) -> Listing:
    """List a folder of labelled pictures, however its labels are kept.

    Class folders count unless a table labels nearly all their pictures: then the table counts, and where the two use
    the same names for different pictures, or two tables differ, one must be asked for.

    Raises
    ------
    DataError
        When the folder cannot be read in any way, or in more than one.
    UsageError
        When an option does not fit.
    """
    if options.layout not in (None, FOLDERS, *LAYOUTS):
        raise UsageError(
            f"There is no layout {options.layout!r}.", parameter="layout", allowed=", ".join([FOLDERS, *LAYOUTS])
        )
    if not root.is_dir():
        return list_folder(root)  # which says what is wrong
    if options.label_from is not None:
        return list_by_names(root, options.label_from)
    if options.layout == FOLDERS:
        return list_folder(root)
    contents = read_contents(root)
    if not contents.files:
        _refuse_options(root, options)
        return list_folder(root)
    candidates, refusals = candidates_of(contents, options)
    return _choose(contents, candidates, refusals, options)


def list_file(file: Path, options: SourceOptions) -> Listing:
    """List the pictures that one file labels, beside it and below; errors as in :func:`list_directory`."""
    if not file.is_file():
        raise SourceError("There is no such table.", where=file, do="check the path")
    contents = read_contents(file.parent)
    alone = Contents(contents.root, contents.pictures, (file.name,))
    candidates, refusals = candidates_of(alone, options)
    if not candidates:
        raise refusals[0] if refusals else no_labels(file, options)
    listing = _complete(candidates[0], contents)
    listing.name = file.stem
    return listing


def _choose(
    contents: Contents, candidates: Sequence[Candidate], refusals: Sequence[VizslaError], options: SourceOptions
) -> Listing:
    folders, error = None, no_labels(contents.root, options)
    if not options.layout:
        try:
            folders = list_folder(contents.root)
        except DataError as raised:
            error = raised
    plausible = folders is not None and len(_class_names(folders)) > 1
    if not candidates:
        if folders is None or (refusals and not plausible):
            raise refusals[0] if refusals else error
        _refuse_options(contents.root, options)
        folders.notes += [f"Not read beside the class folders: {other.where}: {other.what}" for other in refusals]
        return folders
    chosen = _only_candidate(candidates, contents.root)
    chosen.listing.notes += [f"Not read: {other.where}: {other.what}" for other in refusals]
    unread = [file for file in contents.near(*TABLES, depth=1) if is_without_labels(file)]
    if unread:
        chosen.listing.notes.append(f"Not read, as by its name it holds no labels: {', '.join(unread)}.")
    listing = _complete(chosen, contents)
    if folders is None or not plausible or _columns_given(options):
        return listing
    return _against_folders(chosen, listing, folders)


def _class_names(listing: Listing) -> set[str]:
    return {label for label in listing.labels if label.lower() not in GATHERING}


def _only_candidate(candidates: Sequence[Candidate], root: Path) -> Candidate:
    """The one way to read the folder; what labels far fewer pictures, or says the same, is no other way."""
    first = max(candidates, key=lambda candidate: candidate.present)  # of equals the first, which is the surest
    table = first.listing.table()
    for other in candidates:
        if other is first or other.present < _STRAY * first.present:
            continue
        if all(path in table and table[path][0] == label for path, (label, _) in other.listing.table().items()):
            continue
        ways = " or ".join(
            dict.fromkeys(
                spelled("layout", one.layout) if first.layout != other.layout else str(root / one.reading.files[0])
                for one in (first, other)
            )
        )
        raise DataError(
            f"This folder can be read in two ways: {first}, or {other}.",
            where=root,
            allowed="one of them",
            do=f"say which is meant: {ways}" + (" in place of the folder" if first.layout == other.layout else ""),
        )
    others = [one.reading.files[0] for one in candidates if one is not first]
    if others:
        first.listing.notes.append(f"Not read, as {first.reading.files[0]} labels the pictures: {', '.join(others)}.")
    return first


def _against_folders(chosen: Candidate, listing: Listing, folders: Listing) -> Listing:
    """The table or the class folders, by what they cover and whether they agree."""
    classes = _class_names(folders)
    of_folder = {path: label for path, (label, _) in folders.table().items() if label in classes}
    of_table = {path: label for path, (label, _) in listing.table().items()}
    both = of_folder.keys() & of_table.keys()
    if chosen.reading.is_hint or (len(both) < _COVERED * len(of_folder) and not _splits_up(of_table, of_folder)):
        folders.notes.append(
            f"Not read, as class folders hold {len(of_folder):,} pictures and it labels {len(both):,} of them: "
            f"{chosen.reading.title} ({spelled('layout', chosen.layout)} reads it)."
        )
        return folders
    of_table = _by_number(of_table, of_folder)
    differ = [path for path in sorted(both) if _plain(of_folder[path]) != _plain(of_table[path])]
    if not differ:
        says_more = chosen.present > len(of_folder) or (any(listing.splits) and not any(folders.splits))
        listing.labels = [of_table[path] for path in listing.paths]
        return listing if says_more else folders
    if (
        len(differ) > (1 - _COVERED) * len(both)
        and len(both) >= _COVERED * len(of_folder)
        and {*map(_plain, of_folder.values())}.isdisjoint(map(_plain, of_table.values()))
    ):
        listing.notes.append(
            f"The names of the {len(set(folders.labels)):,} folders were not taken for classes, as the table labels "
            f"their pictures ({spelled('layout', FOLDERS)} reads them)."
        )
        return listing
    raise DataError(
        f"This folder can be read in two ways, which differ for {len(differ):,} of {len(both):,} pictures, such as "
        f"{differ[0]}: {chosen}, where it is {of_table[differ[0]]!r}; or {folders.layout}, where it is "
        f"{of_folder[differ[0]]!r}.",
        where=folders.root,
        allowed="one of them",
        do=f"say which is meant: {spelled('layout', chosen.layout)} or {spelled('layout', FOLDERS)}",
    )


def _splits_up(of_table: dict[str, str], of_folder: dict[str, str]) -> bool:
    """Whether a table labels all of some folder's pictures, as several classes: then the folder may be none."""
    labels: dict[str, set[str | None]] = {}
    for path, folder in of_folder.items():
        labels.setdefault(folder, set()).add(_plain(of_table[path]) if path in of_table else None)
    return any(
        len(inside) > 1 and None not in inside and _plain(folder) not in inside for folder, inside in labels.items()
    )


def _by_number(of_table: dict[str, str], of_folder: dict[str, str]) -> dict[str, str]:
    """A table's labels, by the names of the folders where they number these one by one."""
    pairs = {(label, of_folder[path]) for path, label in of_table.items() if path in of_folder}
    names = dict(pairs)
    if len(names) == len(pairs) == len(set(names.values())) and all(map(str.isdigit, names)):
        return {path: names.get(label, label) for path, label in of_table.items()}
    return of_table


def _plain(label: str) -> str:
    return "".join(character for character in label.casefold() if character.isalnum())


def _complete(chosen: Candidate, contents: Contents) -> Listing:
    """The listing with names for its classes, and with notes on what it leaves out."""
    listing = chosen.listing
    listing.notes = [*chosen.reading.notes, *listing.notes]
    name_classes(listing, contents)
    there = set(listing.paths)
    listing.notes += remainder([path for path in contents.pictures if path not in there], listing.paths, contents.root)
    places = sorted({path.partition("/")[0] for path in listing.paths if "/" in path})
    folders = f" with pictures in {', '.join(f'{top}/' for top in places)}" if 0 < len(places) < 5 else ""
    listing.layout = f"{chosen.reading.title}{folders}; {listing.numbers()}"
    return listing


def _refuse_options(root: Path, options: SourceOptions) -> None:
    """Options about columns have no effect on class folders."""
    if columns := _columns_given(options):
        raise UsageError(
            "There is no table here whose columns could be named.",
            parameter=columns[0],
            where=f"{', '.join(map(spelled, columns))}, {root}",
            do="leave it out, or name the table",
        )


def _columns_given(options: SourceOptions) -> list[str]:
    columns = ("path_column", "label_column", "split_column")
    return [name for name in columns if getattr(options, name) is not None]
