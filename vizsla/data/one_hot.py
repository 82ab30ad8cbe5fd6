"""Labels from columns of 0 and 1, one for each class; and what to say where a picture has several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vizsla.data.table_file import Row
from vizsla.errors import DataError

_ONE, _ZERO = ("1", "1.0", "true"), ("0", "0.0", "false")


class OneHot:
    """Reads the label of each row from the columns ``classes``.

    ``is_none`` tells, after the last row, that the columns hold other things than 0 and 1; ``unlabelled`` counts the
    rows without a 1.
    """

    def __init__(self, classes: Sequence[str], file: Path) -> None:
        self.classes, self.file = classes, file
        self.unlabelled = 0
        self.is_none = False
        self._several: list[tuple[str, list[str]]] = []

    def __call__(self, row: Row, where: str) -> str | None:
        values = [str(row[1].get(name)).strip().lower() for name in self.classes]
        self.is_none |= any(value not in _ONE and value not in _ZERO for value in values)
        ones = [name for name, value in zip(self.classes, values, strict=True) if value in _ONE]
        if len(ones) > 1:
            self._several.append((where.rpartition(", ")[2], ones))
        self.unlabelled += not ones
        return ones[0] if ones else None

    def check(self) -> None:
        """After the last row.

        Raises
        ------
        DataError
            When rows have several ones.
        """
        if self._several:
            place, names = self._several[0]
            raise several_labels(len(self._several), f"{place} ({' and '.join(names)})", self.file)


def several_labels(count: int, first: str, where: object) -> DataError:
    """What to say of pictures that have more than one label."""
    return DataError(
        f"{count:,} picture{'s have' if count > 1 else ' has'} more than one class, such as {first}: this is a "
        "multi-label data set.",
        where=where,
        allowed="one class for each picture",
        do="export it with single labels, or take these pictures out",
    )
