"""What a source holds before anything is decided: paths, labels, and the splits and groups it brings along."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vizsla.data.dataset import SPLITS, Split
from vizsla.errors import DataError, UsageError
from vizsla.findings import Finding
from vizsla.parameters import spelled

_NUMBER = re.compile(r"(\d{1,18})[._ -]+(?=\S)")
_COPY = re.compile(r"( - Copy| \(\d+\))+$")
"""What Windows and browsers put behind the name of a folder that is there already."""
_WHOLE = re.compile(r"-?\d{1,18}")


@dataclass
class Listing:
    """Labelled pictures as a source gives them, one entry a picture in each list.

    ``splits`` holds None where the source does not say; ``groups`` is None where it knows no groups. ``findings`` are
    about what the source holds and no entry here stands for. ``layout`` says what the
    labels were read from.
    """

    name: str
    root: Path
    paths: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[Split | None] = field(default_factory=list)
    groups: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    layout: str = ""
    findings: list[Finding] = field(default_factory=list)

    def compose_labels(self) -> None:
        """Write every label in Unicode's composed form (NFC), in which Linux and Windows write what macOS and some
        archives write as letter and accent apart (NFD). The paths stay as they are."""
        composed = {label: unicodedata.normalize("NFC", label) for label in set(self.labels)}
        both = sorted({new for old, new in composed.items() if old != new and new in composed})
        if both:
            self.notes.append(
                f"Written in two Unicode forms, composed (NFC) and decomposed (NFD), and taken as one: {_some(both)}."
            )
        self.labels = [composed[label] for label in self.labels]

    def classes(self) -> tuple[str, ...]:
        """The labels in order: text as text, then whole numbers and numbered names (``10.dog``) by their number."""
        return tuple(sorted(set(self.labels), key=_order))

    def numbers(self) -> str:
        """Pictures, classes and splits, for a person: ``430 pictures of 5 classes in train, valid``."""
        splits = [split for split in SPLITS if split in self.splits]
        inside = f" in {', '.join(splits)}" if splits else ""
        pictures, classes = len(self.paths), len(set(self.labels))
        return f"{pictures:,} picture{'s' * (pictures != 1)} of {classes:,} class{'es' * (classes != 1)}{inside}"

    def table(self) -> dict[str, tuple[str, Split | None]]:
        """Label and split by path."""
        return dict(zip(self.paths, zip(self.labels, self.splits, strict=True), strict=True))

    def drop(self, unwanted: Sequence[str]) -> None:
        """Take out classes, by their name or the name without its number (``257.clutter`` or ``clutter``).

        Raises
        ------
        UsageError
            When there is no such class, or no picture is left.
        """
        if not unwanted:
            return
        classes = self.classes()
        gone: set[str] = set()
        for name in (unicodedata.normalize("NFC", name) for name in unwanted):
            matches = {label for label in classes if name in (label, _NUMBER.sub("", label, count=1))}
            if not matches:
                raise UsageError(
                    f"There is no class {name!r} to drop.",
                    parameter="drop_classes",
                    allowed=_some(classes),
                )
            gone |= matches
        keep = [i for i, label in enumerate(self.labels) if label not in gone]
        if not keep:
            raise UsageError(
                f"No picture is left: {_some(sorted(gone))} are all the classes there are.",
                parameter="drop_classes",
                do="drop fewer classes",
            )
        self.notes.append(
            f"Dropped {len(self.labels) - len(keep):,} pictures of {_some(sorted(gone))} ({spelled('drop_classes')})."
        )
        self.paths = [self.paths[i] for i in keep]
        self.labels = [self.labels[i] for i in keep]
        self.splits = [self.splits[i] for i in keep]
        if self.groups is not None:
            self.groups = [self.groups[i] for i in keep]

    def group(self, group_by: str | None) -> None:
        """Set the groups from a regular expression on the path; its first group, or the whole match, is the key.

        A picture that does not match is a group of its own.

        Raises
        ------
        UsageError
            When the expression is broken or matches no path.
        """
        if group_by is None or self.groups is not None:
            return
        try:
            pattern = re.compile(group_by)
        except re.error as error:
            raise UsageError(
                f"The regular expression {group_by!r} is broken: {error}.",
                parameter="group_by",
                allowed="a regular expression on the path, such as '(IMG_\\d+)', or a column of the table",
            ) from error
        matches = [pattern.search(path) for path in self.paths]
        if not any(matches):
            raise UsageError(
                f"No path matches {group_by!r}, and the source has no column of that name.",
                parameter="group_by",
                do=f"try it on a path such as {self.paths[0]!r}",
            )
        self.groups = [
            (match[1] if pattern.groups and match[1] is not None else match[0]) if match else f"\0{path}"
            for match, path in zip(matches, self.paths, strict=True)
        ]

    def check_labels(self) -> None:
        """Refuse labels that are surely meant to be one.

        Raises
        ------
        DataError
            When two labels differ only by case, spaces, forms of one letter, signs that are not seen, zeros before a
            number, or what a copy is called.
        """
        counts = Counter(self.labels)
        same: dict[str, str] = {}
        for label in sorted(counts, key=lambda name: (bool(_COPY.search(name)), name)):
            key, original = _key(label), _key(_COPY.sub("", label))
            key = original if original in same else key
            if key in same:
                pair = (same[key], label)
                first, second = sorted(pair, key=lambda name: (bool(_COPY.search(name)), -counts[name]))
                raise DataError(
                    f"The labels {_shown(first)} ({counts[first]:,} picture{'s' * (counts[first] > 1)}) and "
                    f"{_shown(second)} ({counts[second]:,}) differ only by {_difference(first, second)}.",
                    where=f"{self.root}: {self.paths[self.labels.index(second)]}",
                    allowed="one spelling for each class",
                    do=f"write {_shown(second)} as {_shown(first)}, or give it a name of its own",
                )
            same[key] = label


def _order(label: str) -> tuple[bool, int, str]:
    number = _NUMBER.match(label)
    whole = number[1] if number else label if _WHOLE.fullmatch(label) else None
    return (whole is not None, int(whole or 0), label)


def _key(label: str) -> str:
    """What labels have in common that are meant to be one."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf")
    text = " ".join(seen.casefold().split())
    return str(int(text)) if _WHOLE.fullmatch(text) else text


def _difference(first: str, second: str) -> str:
    if " ".join(first.casefold().split()) == " ".join(second.casefold().split()):
        return "case or spaces"
    if _COPY.search(first) or _COPY.search(second):
        return "what a copy of a folder is called"
    if _WHOLE.fullmatch(first) and _WHOLE.fullmatch(second):
        return "how the number is written"
    return "signs that look alike or are not seen"


def _shown(label: str) -> str:
    """A label in quotes, with the codes of what cannot be told by looking."""
    plain = unicodedata.normalize("NFKC", label)
    odd = plain != label or any(unicodedata.category(c) in ("Cf", "Zs") and c != " " for c in label)
    return f"{label!r} ({label!a})" if odd else repr(label)


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(repr(name) for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )
