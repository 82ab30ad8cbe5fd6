"""Records of pictures become a listing: each finds its picture, once, and nothing is dropped unnamed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

from vizsla.data.listing import Listing
from vizsla.data.records import Record
from vizsla.data.split_names import split_of_path
from vizsla.errors import DataError
from vizsla.parameters import spelled

Locate = Callable[[Record], list[str]]
"""The paths that a record may mean; none where its picture is not there."""


def resolve(records: Iterable[Record], locate: Locate, root: Path, name: str, absent: Callable[[str], str]) -> Listing:
    """The listing that records give, in their order.

    A picture that is not there stays in the listing, under the path that ``absent`` makes of its name, so that the gate
    finds it missing; a note counts them. Records without a label are counted in a note.

    Raises
    ------
    DataError
        When a record fits several pictures, a picture has two labels, a class has no training picture, or each picture
        has a class of its own.
    """
    listing = Listing(name, root)
    seen: dict[str, Record] = {}
    twice = 0
    unlabelled, missing, unclear = [], [], []
    for record in records:
        places = locate(record)
        if len(places) > 1:
            unclear.append((record, places))
            continue
        path = places[0] if places else absent(record.picture)
        if record.label is None:
            unlabelled.append(record)
            continue
        if path in seen:
            _check_same(record, seen[path])
            seen[path] = record if record.split else seen[path]
            twice += 1
            continue
        if not places:
            missing.append(record)
        seen[path] = record
    _check_clear(unclear)
    listing.paths, listing.labels = list(seen), [str(record.label) for record in seen.values()]
    listing.splits = [record.split for record in seen.values()]
    _split_by_folders(listing)
    if any(record.group is not None for record in seen.values()):
        listing.groups = [record.group or f"\0{path}" for path, record in seen.items()]
    if twice:
        listing.notes.append(f"{twice:,} rows of the table repeat an earlier one and were passed over.")
    if missing:
        listing.notes.append(
            f"{_count(len(missing), 'row')} of {len(seen):,} name pictures that are not there, such as "
            f"{missing[0].picture!r} ({missing[0].where.rpartition('/')[2]})."
        )
    if unlabelled:
        listing.notes.append(
            f"{_count(len(unlabelled), 'row')} without a label passed over, such as {unlabelled[0].picture!r}."
        )
    _check_classes(seen)
    _check_classes_repeat(listing, seen)
    return listing


def _split_by_folders(listing: Listing) -> None:
    """Where no row says which split it is in, the folders of the pictures may."""
    splits = [split_of_path(path) for path in listing.paths]
    if any(listing.splits) or not all(splits) or len(set(splits)) == 1:
        return
    listing.splits = splits
    listing.notes.append("The splits are those that the folders of the pictures name.")


def _check_clear(unclear: list[tuple[Record, list[str]]]) -> None:
    if unclear:
        record, places = unclear[0]
        raise DataError(
            f"{_count(len(unclear), 'name')} could be any of several pictures, such as {record.picture!r}: "
            f"{', '.join(places[:3])}.",
            where=record.where,
            allowed="names that only one picture has, or paths",
            do="write the folder before the name, or take the other pictures of this name away",
        )


def _check_same(record: Record, first: Record) -> None:
    if record.label == first.label and (record.split == first.split or None in (record.split, first.split)):
        return
    here, there = record.where.rpartition(", ")[0], first.where.rpartition(", ")[0]
    place = first.where.rpartition(", ")[2] if here == there else first.where
    words = f"is labelled {record.label!r} here and {first.label!r} in {place}"
    if record.label == first.label:
        words = f"is in {record.split} here and in {first.split} in {place}"
    raise DataError(
        f"{record.picture!r} {words}.",
        where=record.where,
        allowed="one label and one split for each picture",
        do="keep the right one of the two",
    )


def _check_classes(seen: dict[str, Record]) -> None:
    """A class that only valid or test rows have is most often a slip of the pen."""
    trained = {record.label for record in seen.values() if record.split in (None, "train")}
    if not trained:
        return
    for record in seen.values():
        if record.label not in trained:
            names = sorted(str(label) for label in trained)
            close = difflib.get_close_matches(str(record.label), names, 1)
            raise DataError(
                f"Unknown class {record.label!r}: no training row has it.",
                where=record.where,
                allowed=", ".join(names[:12]) + (" ..." if len(names) > 12 else ""),
                do=f"did you mean {close[0]!r}?" if close else "correct it, or add training rows of that class",
            )


def _check_classes_repeat(listing: Listing, seen: dict[str, Record]) -> None:
    """A column of names or numbers, each for one picture, is no column of classes."""
    if len(listing.labels) > 2 and len(set(listing.labels)) == len(listing.labels):
        raise DataError(
            f"Each of {len(listing.labels):,} pictures would have a class of its own, such as {listing.labels[0]!r}.",
            where=seen[listing.paths[0]].where.rpartition(", ")[0] or listing.root,
            allowed="classes that pictures share",
            do=f"say with {spelled('label_column')} which column is the label",
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
