"""Spaces from files and from what is typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError
from vizsla.optional import require
from vizsla.tuning.parameter_ranges import TuningDocument, is_tuning_document, tuning_document
from vizsla.tuning.space import (
    CategoricalParameter,
    ContinuousParameter,
    IntegerParameter,
    Parameter,
    Space,
    Value,
    named,
    no_range,
    own_space,
    own_value,
    parse_assignments,
)

_SUFFIXES = (".yaml", ".yml", ".json")


def read_space(
    texts: Sequence[str],
    default: Space | None = None,
    *,
    fixed: Mapping[str, Value] | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> Space | None:
    """A space from NAME=RANGE texts and the names of YAML or JSON files; what is typed comes before a file.

    A file may be one of SageMaker's documents; ``note`` is told what of it is not taken. ``default`` is our own
    training's: where nothing is to be searched, it is, with the static values that the texts give. ``fixed`` are
    further static values.

    Raises
    ------
    UsageError
        When one cannot be read or meant.
    """
    found: dict[str, Parameter | Value] = {}
    auto: dict[str, str] = {}
    typed = []
    for text in texts:
        if text.lower().endswith(_SUFFIXES) and "=" not in text:
            content = _file(Path(text))
            if not is_tuning_document(content):
                found |= {str(name): named(str(name), given) for name, given in content.items()}
                continue
            document = _tuning_document(Path(text), content)
            found |= document.static | {name: named(name, given) for name, given in document.ranges.items()}
            auto |= document.auto
            if document.options:
                options = " ".join(document.options)
                note(f"Of {text} the ranges and static values are taken; what else it asks for is typed: {options}")
        else:
            typed.append(text)
    found |= {name: named(name, given) for name, given in parse_assignments(typed).items()}
    for name, hint in auto.items():
        usual = None if default is None else default.parameters.get(name)
        if name not in found and usual is None:
            raise no_range(name, hint)
        if usual is not None:
            found.setdefault(name, usual)
    if both := sorted(set(fixed or {}) & set(found)):
        raise UsageError(f"Parameter {both[0]!r} comes twice.", where="--space, --hyperparameters", do="name it once")
    found |= fixed or {}
    if not found:
        return None
    searched: dict[str, Parameter] = {}
    static: dict[str, Value] = {}
    for name, value in found.items():
        if isinstance(value, ContinuousParameter | IntegerParameter | CategoricalParameter):
            searched[name] = value
        else:
            static[name] = value
    if default is None:
        return Space(searched, static)
    if not searched:
        searched, static = dict(default.parameters), dict(default.static) | static
    return own_space(Space(searched, static))


def _tuning_document(path: Path, content: dict[str, Any]) -> TuningDocument:
    try:
        return tuning_document(content)
    except UsageError as error:
        where = f"{path}: {error.where}" if error.where else path
        raise UsageError(error.what, where=where, allowed=error.allowed, do=error.do) from None


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
            found[name.strip()] = own_value(value)
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
