"""The options that say which data and what to do about what is wrong with it; the same for every verb."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from vizsla.cli.option_table import with_table
from vizsla.parameters import COMMAND

if TYPE_CHECKING:
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

DATA_HELP = (
    "A folder with one folder a class, or with train, valid and test folders of them, or with labels in any other way "
    "of --layout; a table (.csv, .jsonl, .parquet) of path, label[, split][, group]; an archive (.zip, .tar.gz), also "
    "by http(s); or s3://bucket/prefix."
)

_DATA, _LABELS = "Data", "Labels"


def _option(
    type_: object, default: object, panel: str, help_: str, *, flag: str | None = None, metavar: str | None = None
) -> tuple[object, Any]:
    flags = () if flag is None else (flag,)
    return type_, typer.Option(default, *flags, help=help_, rich_help_panel=panel, metavar=metavar)


_SOURCE: dict[str, tuple[object, Any]] = {
    "drop_classes": _option(
        list[str] | None, None, _DATA, "A class to leave out; may be given several times.", flag="--drop-class"
    ),
    "group_by": _option(
        str | None,
        None,
        _DATA,
        "Keeps pictures together in one split: a column of the table, or a regular expression on the path whose "
        "(group) is the key.",
    ),
    "endpoint_url": _option(str | None, None, _DATA, "Where an S3-compatible service listens."),
    "sha256": _option(str | None, None, _DATA, "What a download must have.", flag="--sha256"),
    "layout": _option(
        str | None,
        None,
        _LABELS,
        "How the labels lie in the folder, where that is in doubt: folders, imagefolder, roboflow, fiftyone, "
        "datumaro, cvat, label-studio, webdataset, imagenet, split-tables, kaggle, table.",
        metavar="NAME",
    ),
    "path_column": _option(str | None, None, _LABELS, "The table's column that says which picture."),
    "label_column": _option(str | None, None, _LABELS, "The table's column that says which class."),
    "split_column": _option(str | None, None, _LABELS, "The table's column that says which split."),
    "label_from": _option(
        str | None,
        None,
        _LABELS,
        "Labels from the files' names: the first group, or the one named label, is the class.",
        metavar="REGEX",
    ),
}
"""The options that fill :class:`vizsla.data.SourceOptions`, by its fields."""

_GATE: dict[str, tuple[object, Any]] = {
    "on_damaged": _option(str, "skip", _DATA, "Pictures that cannot be read: skip, repair or fail."),
    "on_leak": _option(str, "drop-from-train", _DATA, "The same picture in two splits: drop-from-train, warn or fail."),
    "near_copies": _option(
        str,
        "auto",
        _DATA,
        "Pictures nearly the same, which share a split: auto (but not those of one scene), off, or the most bits of "
        "their 256-bit hashes that may differ.",
    ),
}
"""The options that fill :class:`vizsla.data.gate.GateOptions`, by its fields."""


def data_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options on data: it gets ``source`` and ``gate``, the configurations that they fill.

    The options stand where ``source`` stands in the verb's signature.
    """
    return with_table(verb, _SOURCE | _GATE, ("source", "gate"), configurations)


def source_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options on how data are read: it gets ``source``; nothing is decided about the pictures."""

    def fill(values: dict[str, Any]) -> tuple[SourceOptions]:
        from vizsla.data import SourceOptions

        return (SourceOptions(**values | {"drop_classes": values["drop_classes"] or ()}),)

    return with_table(verb, _SOURCE, ("source",), fill)


def configurations(values: dict[str, Any]) -> tuple[SourceOptions, GateOptions]:
    """What these options ask for.

    Raises
    ------
    UsageError
        For an unknown choice.
    """
    from vizsla.data import SourceOptions
    from vizsla.data.gate import GateOptions

    source = {name: value for name, value in values.items() if name in _SOURCE}
    source["drop_classes"] = source.get("drop_classes") or ()
    return SourceOptions(**source), GateOptions(**{name: value for name, value in values.items() if name in _GATE})


def typed(source: SourceOptions, gate: GateOptions) -> list[str]:
    """The options that differ from their defaults, as one types them."""
    words = []
    for config, options in ((source, _SOURCE), (gate, _GATE)):
        for name, (_, default) in options.items():
            value = getattr(config, name)
            if value not in ((), default.default):
                words.append(COMMAND.spell(name, value))
    return words
