"""What one layout makes of a folder, before it is decided which layout is meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vizsla.data.contents import Contents
from vizsla.data.options import SourceOptions
from vizsla.data.records import Record

Files = tuple[str, ...]
"""Files that belong together, relative to the root."""


@dataclass(frozen=True)
class Reading:
    """The records that some files hold. ``title`` names them: ``Kaggle: labels.csv (id, breed)``.

    ``is_hint`` is for labels that stand beside each picture, which captions may also do: class folders come first.
    """

    title: str
    files: Files
    records: list[Record]
    notes: list[str] = field(default_factory=list)
    is_hint: bool = False


@dataclass(frozen=True)
class Layout:
    """A way in which labels lie in a folder.

    First :attr:`find` looks at names alone and gives the files that may be of this kind, together what belongs
    together; an empty group is none. Then :attr:`read` opens them: it gives their records, or None where they are of
    another kind after all, and raises :class:`~vizsla.errors.DataError` where they are of this kind and cannot be used.
    """

    description: str
    find: Callable[[Contents], Iterable[Files]]
    read: Callable[[Contents, Files, SourceOptions], Reading | None]
