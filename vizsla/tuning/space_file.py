"""Spaces from files and from what is typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.hyperparameter_input import read_mapping
from vizsla.tuning.parameter_ranges import TuningDocument, is_tuning_document, tuning_document
from vizsla.tuning.space import (
    Parameter,
    Space,
    Value,
    named,
    no_range,
    own_space,
    parse_assignments,
    searched_and_static,
)

_SUFFIXES = (".yaml", ".yml", ".json")


def read_space(
    texts: Sequence[str],
    default: Callable[[Mapping[str, Value]], Space] | None = None,
    *,
    note: Callable[[str], object] = lambda text: None,
) -> Space | None:
    """A space from NAME=RANGE texts and the names of YAML or JSON files; what is typed comes before a file.

    A file may be one of SageMaker's documents; ``note`` is told what of it is not taken. ``default`` gives our
    own training's, beside values that stay the same: it is searched where the texts name no range.

    Raises
    ------
    UsageError
        When one cannot be read or meant.
    """
    values: dict[str, Parameter | Value] = {}
    auto: dict[str, str] = {}
    typed = []
    for text in texts:
        if text.lower().endswith(_SUFFIXES) and "=" not in text:
            content = read_mapping(Path(text))
            if not is_tuning_document(content):
                values |= {str(name): named(str(name), description) for name, description in content.items()}
                continue
            document = _tuning_document(Path(text), content)
            values |= document.static | {
                name: named(name, description) for name, description in document.ranges.items()
            }
            auto |= document.auto
            if document.options:
                options = " ".join(document.options)
                note(f"Of {text} the ranges and static values are taken; what else it asks for is typed: {options}")
        else:
            typed.append(text)
    values |= {name: named(name, description) for name, description in parse_assignments(typed).items()}
    for name, hint in auto.items():
        usual = None if default is None else default({}).parameters.get(name)
        if name not in values and usual is None:
            raise no_range(name, hint)
        if usual is not None:
            values.setdefault(name, usual)
    if not values:
        return None
    searched, static = searched_and_static(values)
    if default is None:
        return Space(searched, static)
    return own_space(Space(searched, static) if searched else default(static))


def _tuning_document(path: Path, content: dict[str, Any]) -> TuningDocument:
    try:
        return tuning_document(content)
    except UsageError as error:
        error.where = f"{path}: {error.where}" if error.where else str(path)
        raise
