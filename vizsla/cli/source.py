"""The options that say which data and what to do about what is wrong with it; the same for every verb."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

_PANEL = "Data"

DATA_HELP = (
    "A folder with one folder a class, or with train, valid and test folders of them; a table (.csv, .jsonl, "
    ".parquet) of path, label[, split][, group]; an archive (.zip, .tar.gz), also by http(s); or s3://bucket/prefix."
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
NearCopies = Annotated[
    str,
    typer.Option(
        "--near-copies",
        help="Pictures nearly the same, which share a split: auto (but not those of one scene), off, or the most bits "
        "of their 256-bit hashes that may differ.",
        rich_help_panel=_PANEL,
    ),
]
Sha256 = Annotated[str | None, typer.Option("--sha256", help="What a download must have.", rich_help_panel=_PANEL)]


def data_options(
    drop_class: list[str] | None = None,
    group_by: str | None = None,
    on_damaged: str = "skip",
    on_leak: str = "drop-from-train",
    endpoint_url: str | None = None,
    sha256: str | None = None,
    near_copies: str = "auto",
) -> tuple[SourceOptions, GateOptions]:
    """What these options ask for.

    Raises
    ------
    UsageError
        When one has a value that it cannot have.
    """
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

    source = SourceOptions(tuple(drop_class or ()), group_by, endpoint_url, sha256)
    return source, GateOptions(on_damaged, on_leak, near_copies)  # type: ignore[arg-type]
