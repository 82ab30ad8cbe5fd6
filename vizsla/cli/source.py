"""The options that say which data and what to do about what is wrong with it; the same for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

_PANEL = "Data"

DATA_HELP = (
    "A folder with one folder a class, or with train, valid and test folders of them, or with labels in any other way "
    "of --layout; a table (.csv, .jsonl, .parquet) of path, label[, split][, group]; an archive (.zip, .tar.gz), also "
    "by http(s); or s3://bucket/prefix."
)

DropClass = Annotated[
    list[str] | None,
    typer.Option("--drop-class", help="A class to leave out; may be given several times.", rich_help_panel=_PANEL),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        help="Keeps pictures together in one split: a column of the table, or a regular expression on the path "
        "whose (group) is the key.",
        rich_help_panel=_PANEL,
    ),
]
OnDamaged = Annotated[
    str,
    typer.Option("--on-damaged", help="Pictures that cannot be read: skip, repair or fail.", rich_help_panel=_PANEL),
]
OnLeak = Annotated[
    str,
    typer.Option(
        "--on-leak",
        help="The same picture in two splits: drop-from-train, warn or fail.",
        rich_help_panel=_PANEL,
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="Where an S3-compatible service listens.", rich_help_panel=_PANEL),
]
Sha256 = Annotated[str | None, typer.Option("--sha256", help="What a download must have.", rich_help_panel=_PANEL)]

_LABELS = "Labels"
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="NAME",
        help="How the labels lie in the folder, where that is in doubt: folders, imagefolder, roboflow, fiftyone, "
        "datumaro, cvat, label-studio, webdataset, imagenet, split-tables, kaggle, table.",
        rich_help_panel=_LABELS,
    ),
]
PathColumn = Annotated[
    str | None,
    typer.Option("--path-column", help="The table's column that says which picture.", rich_help_panel=_LABELS),
]
LabelColumn = Annotated[
    str | None,
    typer.Option("--label-column", help="The table's column that says which class.", rich_help_panel=_LABELS),
]
SplitColumn = Annotated[
    str | None,
    typer.Option("--split-column", help="The table's column that says which split.", rich_help_panel=_LABELS),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(
        "--label-from",
        metavar="REGEX",
        help="Labels from the files' names: the first group, or the one named label, is the class.",
        rich_help_panel=_LABELS,
    ),
]


def data_options(
    drop_class: list[str] | None = None,
    group_by: str | None = None,
    on_damaged: str = "skip",
    on_leak: str = "drop-from-train",
    endpoint_url: str | None = None,
    sha256: str | None = None,
    layout: str | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    label_from: str | None = None,
) -> tuple[SourceOptions, GateOptions]:
    """What these options ask for.

    Raises
    ------
    UsageError
        When one has a value that it cannot have.
    """
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

    source = SourceOptions(
        tuple(drop_class or ()),
        group_by,
        endpoint_url,
        sha256,
        layout,
        path_column,
        label_column,
        split_column,
        label_from,
    )
    return source, GateOptions(on_damaged, on_leak)  # type: ignore[arg-type]
