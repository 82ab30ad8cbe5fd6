"""Which column of a table is which, by the names that people and tools give them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from vizsla.data.options import SourceOptions
from vizsla.errors import DataError, UsageError
from vizsla.parameters import spelled

_PATHS = (
    "path filepath filepaths filename filenames file files imagepath imgpath imagefile imagefilename imagename imgname "
    "picture photo image images img fname imageid imgid photoid pictureid fileid id name "
    "imageindex imageurl imageuri url uri"
).split()
"""Names of the column that says which picture, the surest first; without case, spaces, ``_`` and ``-``."""

_LABELS = (
    "class classes category categories target targets breed species choice choices tag y groundtruth diagnosis dx "
    "disease variety cultivar genus family type"
).split()
"""Names of the column that says which class."""

_SPLITS = "split splits set subset partition phase dataset datasplit usage isvalid isval istest".split()

COLUMNS = "path and label, and as you like split, group"


@dataclass(frozen=True)
class Columns:
    """The columns of a table that count. ``one_hot`` are the classes, where each is a column of 0 and 1."""

    path: str
    label: str | None
    split: str | None
    group: str | None
    others: tuple[str, ...] = ()


def find_columns(names: Sequence[str], options: SourceOptions, where: object) -> Columns:
    """Find the columns by their names, or by those that the options give.

    ``label`` is None where no column has a name for it.

    Raises
    ------
    UsageError
        When an option names a column that is not there.
    DataError
        When no column can say which picture, or several could say which class.
    """
    for option in ("path_column", "label_column", "split_column"):
        column = getattr(options, option)
        if column is not None and column not in names:
            raise UsageError(
                f"The table has no column {column!r}.",
                parameter=option,
                where=f"{spelled(option)}, {where}",
                allowed=_some([repr(name) for name in names]),
                do=_close(column, names),
            )
    path = options.path_column or _first(_PATHS, names, {options.label_column, options.split_column})
    if path is None:
        raise missing("path", names, where)
    split = options.split_column or _first(_SPLITS, names, {path, options.label_column})
    label = options.label_column or _label(names, {path, split}, where)
    group = None
    if options.group_by in names:
        group = options.group_by
    elif options.group_by is None and "group" in names:
        group = "group"
    others = tuple(name for name in names if name not in (path, label, split, group))
    return Columns(path, label, split, group, others)


def missing(needed: str, names: Sequence[str], where: object) -> DataError:
    """What to say where no column is the ``path`` or the ``label``."""
    close = difflib.get_close_matches(needed, names, 1) or [name for name in names if name.strip() == needed]
    return DataError(
        f"The table has no column {needed!r}; its columns are {_some(names)}.",
        where=where,
        allowed=f"the columns {COLUMNS}",
        do=f"rename {close[0]!r} to {needed!r}"
        if close
        else f"say which of them it is with {spelled(f'{needed}_column')}, or add a column {needed!r}",
    )


def _first(usual: Sequence[str], names: Sequence[str], taken: set[str | None]) -> str | None:
    plain = {_plain(name): name for name in reversed(names) if name not in taken}
    return next((plain[name] for name in usual if name in plain), None)


def _label(names: Sequence[str], taken: set[str | None], where: object) -> str | None:
    """``label`` before all others, names before numbers; of several others none is surer."""
    plain = {_plain(name): name for name in reversed(names) if name not in taken}
    for kind in ("name", "names", "", "s", "id", "idx", "index"):
        if "label" + kind in plain:
            return plain["label" + kind]
    others = []
    for base in _LABELS:
        forms = (plain.get(base + kind) for kind in ("name", "", "label", "id", "idx", "index"))
        others += [form for form in forms if form][:1]
    if len(others) > 1:
        raise DataError(
            f"More than one column could be the label: {', '.join(map(repr, others))}.",
            where=where,
            allowed="one of them",
            do=f"choose with {spelled('label_column', others[0])}",
        )
    return others[0] if others else None


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _close(column: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, names, 1)
    return f"did you mean {close[0]!r}?" if close else "give one of these"
