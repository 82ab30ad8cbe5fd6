"""Names for classes that a table gives as numbers, from a list that lies beside it."""

from __future__ import annotations

import re

from vizsla.data.contents import Contents
from vizsla.data.listing import Listing

_FILES = re.compile(r"(classes|class_names|classnames|labels|label_names|categories|synsets)\.(txt|names)|.*\.names")
_NUMBERED = re.compile(r"(\d+)\s*[:,;\t ]\s*(\S.*)")


def name_classes(listing: Listing, contents: Contents) -> None:
    """Give classes their names, where all labels are numbers and a list of names such as ``classes.txt`` lies there.

    A list is one name a line, the first for 0 (for 1 where the labels run from 1 to its length), or number and name.
    A note of the listing says which list it was.
    """
    labels = set(listing.labels)
    numbers = {label: int(label) for label in labels if label.isascii() and label.isdigit() and len(label) < 10}
    if not numbers or len(numbers) < len(labels):
        return
    for file in sorted(contents.near(".txt", ".names"), key=lambda file: file.count("/")):
        if not _FILES.fullmatch(file.rpartition("/")[2].lower()):
            continue
        names = read_names(contents, file)
        if min(numbers.values()) > 0 and max(numbers.values()) == len(names) and 0 in names:
            names = {number + 1: name for number, name in names.items()}
        if set(numbers.values()) <= names.keys():
            first = min(numbers, key=lambda label: numbers[label])
            listing.labels = [names[numbers[label]] for label in listing.labels]
            listing.notes.append(
                f"The numbers of the classes have their names from {file} ({first} is {names[numbers[first]]!r})."
            )
            return


def has_names(contents: Contents) -> bool:
    """Whether a list of names of classes lies there."""
    return any(_FILES.fullmatch(file.rpartition("/")[2].lower()) for file in contents.near(".txt", ".names"))


def read_names(contents: Contents, file: str) -> dict[int, str]:
    """The names in a list by their numbers; empty where it is no such list."""
    try:
        text = (contents.root / file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return {int(match[1]): match[2].strip("'\"") for match in numbered if match}
    return dict(enumerate(lines)) if len(set(lines)) == len(lines) else {}
