"""Names for classes that a table gives as numbers, from a list that lies beside it."""

from __future__ import annotations

import re

from vizsla.data.contents import Contents
from vizsla.data.listing import Listing
from vizsla.data.table_file import read_json

_FILES = re.compile(
    r"(classes|class_names|classnames|labels|label_names|categories|synsets)\.(txt|names|json)|.*\.names"
)
_MOST_BYTES = 1 << 20
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
    for file in _lists(contents):
        names = _read_json(contents, file) if file.lower().endswith(".json") else _read_text(contents, file)
        if not names:
            continue
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
    return any(not file.lower().endswith(".json") for file in _lists(contents))


def _lists(contents: Contents) -> list[str]:
    """Files that may hold names, the ones nearest to the top first; JSON of any name, as what is in it tells."""
    files = [file for file in contents.near(".txt", ".names") if _FILES.fullmatch(file.rpartition("/")[2].lower())]
    maps = [file for file in contents.near(".json", depth=1) if (contents.root / file).stat().st_size <= _MOST_BYTES]
    return sorted(files, key=lambda file: file.count("/")) + maps


def _read_json(contents: Contents, file: str) -> dict[int, str]:
    """An object of names by number or numbers by name, or a list of names in a file that says so."""
    try:
        value = read_json(contents.root / file)
    except (OSError, ValueError):
        return {}
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return dict(enumerate(value)) if _FILES.fullmatch(file.rpartition("/")[2].lower()) else {}
    if not isinstance(value, dict):
        return {}
    if all(number.isdigit() and isinstance(name, str) for number, name in value.items()):
        return {int(number): name for number, name in value.items()}
    if all(type(number) is int for number in value.values()) and len(set(value.values())) == len(value):
        return {number: name for name, number in value.items()}
    return {}


def _read_text(contents: Contents, file: str) -> dict[int, str]:
    """One name a line, or number and name."""
    try:
        text = (contents.root / file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        return {int(match[1]): match[2].strip("'\"") for match in numbered if match}
    return dict(enumerate(lines)) if len(set(lines)) == len(lines) else {}
