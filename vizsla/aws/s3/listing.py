"""The objects of a bucket in the order of their keys, page by page, by walking its folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import metadata as meta
from vizsla.aws.s3.keys import BESIDE, names_of, part_of


@dataclass(frozen=True)
class Listed:
    """One object of a list."""

    key: str
    size: int
    modified: float
    etag: str


@dataclass(frozen=True)
class Page:
    """Objects and common prefixes; ``last`` is the last of both where more follows."""

    objects: list[Listed]
    prefixes: list[str]
    last: str | None


def page(root: Path, prefix: str, delimiter: str, after: str, most: int) -> Page:
    """The objects after ``after`` whose keys begin with ``prefix``.

    Keys that hold ``delimiter`` behind the prefix are told once, as a common prefix. Order: that of the bytes of the
    keys in UTF-8, which is that of their characters.
    """
    objects: list[Listed] = []
    prefixes: list[str] = []
    last = ""
    for key, path in _keys(root, prefix, after, fold=delimiter == "/"):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        item = key if end < 0 else key[: end + len(delimiter)]
        if item <= after or (prefixes and item == prefixes[-1]):
            continue
        listed = _listed(key, path) if end < 0 else None
        if end < 0 and listed is None:  # just removed
            continue
        if len(objects) + len(prefixes) == most:
            return Page(objects, prefixes, last if most else None)
        if listed is not None:
            objects.append(listed)
        else:
            prefixes.append(item)
        last = item
    return Page(objects, prefixes, None)


def is_empty(root: Path) -> bool:
    """Whether there is no object."""
    return next(_keys(root, "", "", fold=False), None) is None


def _listed(key: str, path: str) -> Listed | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Listed(key, status.st_size, status.st_mtime, meta.read(path, status).etag)


def _keys(root: Path, prefix: str, after: str, *, fold: bool) -> Iterator[tuple[str, str]]:
    """Keys and their files, beginning at the folder that the prefix names."""
    base = prefix[: prefix.rfind("/") + 1]
    try:
        folder = root.joinpath(*names_of(base)[:-1])
    except AwsError:  # no object can lie there
        return
    yield from _walk(str(folder), base, prefix, after, fold, frozenset())


def _walk(
    folder: str, base: str, prefix: str, after: str, fold: bool, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, str]]:
    """``fold``: of a folder behind the prefix only the first key. ``above``: the folders that this one is in."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            rows = sorted(_rows(entries), key=lambda row: (row[0], row[2].startswith(BESIDE)))
    except OSError:  # not there, no folder, or not ours to read
        return
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder above
        return
    above |= {here}
    previous = ""
    for part, is_folder, name in rows:
        key, path = base + part, f"{folder}/{name}"
        if not is_folder:
            if key > after and key != previous and key.startswith(prefix):
                yield key, path
            previous = key
        elif key.startswith(prefix) and fold and len(key) > len(prefix):
            if key > after:
                first = next(_walk(path, key, prefix, "", False, above), None)
                if first is not None:
                    yield first
        elif (key.startswith(prefix) or prefix.startswith(key)) and (key > after or after.startswith(key)):
            yield from _walk(path, key, prefix, after, fold, above)


def _rows(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, bool, str]]:
    """The rest of the key that each entry begins or is, whether it is a folder, and its name; the plain file of a key
    comes before the one beside it."""
    for entry in entries:
        part = part_of(entry.name)
        if part is None:
            continue
        if entry.is_dir():
            if not entry.name.startswith(BESIDE):
                yield part + "/", True, entry.name
        elif entry.is_file():
            yield part, False, entry.name
