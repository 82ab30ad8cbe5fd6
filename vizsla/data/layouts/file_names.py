"""Labels in the files' names, by a regular expression: ``label_from=r"^(.+)_\\d+"``."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from vizsla.data.contents import read_contents
from vizsla.data.listing import Listing
from vizsla.data.split_names import split_of
from vizsla.errors import DataError, UsageError
from vizsla.parameters import spelled


def list_by_names(root: Path, expression: str) -> Listing:
    """List a folder whose files' names tell their labels; folders of splits at its top are splits.

    The group ``label``, else the first group, of what ``expression`` finds in a file's name is the label; in the path,
    where the expression has a ``/``.

    Raises
    ------
    UsageError
        When the expression is broken, has no group, or fits no name.
    DataError
        When the folder holds no picture.
    """
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(
            f"The regular expression {expression!r} is broken: {error}.",
            parameter="label_from",
            allowed=r"a regular expression on the file's name, such as '^(.+)_\d+\.jpg$'",
        ) from error
    if not pattern.groups:
        raise UsageError(
            f"The regular expression {expression!r} has no group.",
            parameter="label_from",
            allowed=r"parentheses around the label, such as '^(.+)_\d+\.jpg$'",
            do="put parentheses around the part that is the label",
        )
    contents = read_contents(root)
    if not contents.pictures:
        raise DataError("There is no picture in this folder.", where=root, do="check the path")
    group: str | int = "label" if "label" in pattern.groupindex else 1
    listing = Listing(root.resolve().name, root)
    others = []
    for path in contents.pictures:
        match = pattern.search(path if "/" in expression else posixpath.basename(path))
        if match is None or not match[group]:
            others.append(path)
            continue
        listing.paths.append(path)
        listing.labels.append(match[group])
        listing.splits.append(split_of(path.partition("/")[0], plainly=True) if "/" in path else None)
    if not listing.paths:
        raise UsageError(
            f"No file's name fits {expression!r}.",
            parameter="label_from",
            do=f"try it on a name such as {posixpath.basename(contents.pictures[0])!r}",
        )
    if others:
        listing.notes.append(
            f"{len(others):,} picture{'s' * (len(others) > 1)} whose name does not fit {spelled('label_from')} are not "
            f"read, such as {others[0]}."
        )
    listing.layout = f"Names of files by {expression}; {listing.numbers()}"
    return listing
