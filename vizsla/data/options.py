"""What a person may say about how a source is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    ``drop_classes`` are left out; ``group_by`` is a column of the table or a regular expression on the path;
    ``endpoint_url`` where an S3-compatible service listens; ``sha256`` what a download must have.

    ``layout`` is one of the names in :data:`vizsla.data.layouts.LAYOUTS`, where more than one could be meant;
    ``path_column``, ``label_column`` and ``split_column`` are columns of a table whose names are not the field's;
    ``label_from`` is a regular expression whose group ``label``, else first group, in a file's name is the label.

    >>> SourceOptions(label_column="breed", layout="kaggle").label_column
    'breed'
    """

    drop_classes: Sequence[str] = ()
    group_by: str | None = None
    endpoint_url: str | None = None
    sha256: str | None = None
    layout: str | None = None
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    label_from: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop_classes", tuple(self.drop_classes))
