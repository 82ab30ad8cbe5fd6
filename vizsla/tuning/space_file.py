"""Spaces from files and from what is typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError
from vizsla.optional import require
from vizsla.tuning.space import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Space,
    Value,
    parameter,
    parse_assignments,
    parse_one,
)

_SUFFIXES = (".yaml", ".yml", ".json")


def read_space(texts: Sequence[str], default: Space | None = None) -> Space | None:
    """A space from NAME=RANGE texts and the names of YAML or JSON files.

    Where nothing is to be searched, ``default`` is, with the static values that the texts give.

    Raises
    ------
    UsageError
        When one cannot be read or meant.
    """
    found: dict[str, Any] = {}
    typed = []
    for text in texts:
        if text.lower().endswith(_SUFFIXES) and "=" not in text:
            found |= _file(Path(text))
        else:
            typed.append(text)
    found |= parse_assignments(typed)
    static: dict[str, Value] = {}
    for name, given in found.items():
        value = parameter(given)
        if not isinstance(value, ContinuousParameter | IntegerParameter | CategoricalParameter):
            static[name] = value
    if default is not None and len(static) == len(found):
        return Space(dict(default.parameters), dict(default.static) | static)
    return Space.of(found) if found else None


def read_values(texts: Sequence[str]) -> dict[str, Value]:
    """Hyperparameters from JSON or YAML files and from NAME=VALUE texts with commas between.

    Raises
    ------
    UsageError
        When one cannot be read.
    """
    found: dict[str, Value] = {}
    for text in texts:
        if "=" not in text:
            found |= _file(Path(text))
            continue
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or not name.strip() or not value:
                raise UsageError(
                    f"{part!r:.100} is not NAME=VALUE.",
                    where="--hyperparameters",
                    allowed="a .json file, or lr=0.01,batch_size=64",
                )
            found[name.strip()] = parse_one(value)
    return found


def _file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"The file cannot be read: {error.strerror}.", where=path, do="correct its name") from error
    try:
        if path.suffix == ".json":
            content = json.loads(text)
        else:
            content = require("yaml", extra="tune", feature="A space in a YAML file").safe_load(text)
    except Exception as error:  # YAML's errors and JSON's share no base class
        raise UsageError(f"The file cannot be read: {error}.", where=path, allowed="YAML or JSON") from error
    if not isinstance(content, dict):
        raise UsageError("The file is not a mapping of names to values.", where=path, allowed="lr: 0.001..0.1:log")
    return content
