"""Hyperparameters as people give them: pairs, a file, a JSON object or a mapping, the same at every door."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from vizsla.errors import UsageError
from vizsla.optional import require

HyperparameterInput: TypeAlias = Mapping[str, Any] | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A mapping; or a text or path, or several of them."""

_ALLOWED = 'name=value, name=value,name=value, a JSON object such as {"lr": 0.01}, or a .json or .yaml file'
_NEXT_PAIR = re.compile(r",(?=\s*[A-Za-z_][\w.-]*=)")


def read_hyperparameters(values: HyperparameterInput) -> dict[str, Any]:
    """Values by name.

    A text is ``name=value``, several of them with commas between, a JSON object, or the name of a JSON or YAML file. A
    comma parts two pairs only where a name and ``=`` follow it. Values of pairs stay text: nothing is lost on the way
    to a script, not a space, a quote or a newline. What is typed comes before what stands in a file.

    Raises
    ------
    UsageError
        For a text that is none of these, a file that cannot be read, or a name that is typed twice.

    Examples
    --------
    >>> read_hyperparameters(["lr=0.01,batch-size=64", '{"epochs": 3}'])
    {'lr': '0.01', 'batch-size': '64', 'epochs': 3}
    """
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    texts = [values] if isinstance(values, str | os.PathLike) else values
    stored: dict[str, Any] = {}
    typed: dict[str, Any] = {}
    for text in texts:
        if not isinstance(text, str):
            stored |= read_mapping(Path(text))
        elif text.lstrip().startswith("{"):
            _add(typed, _json_object(text))
        elif "=" in text:
            for pair in _NEXT_PAIR.split(text):
                _add(typed, _pair(pair))
        elif Path(text).suffix.lower() in (".json", ".yaml", ".yml") or Path(text).is_file():
            stored |= read_mapping(Path(text))
        else:
            raise UsageError(f"{text!r:.100} is not a hyperparameter.", parameter="hyperparameters", allowed=_ALLOWED)
    return stored | typed


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file, by its text keys.

    Raises
    ------
    UsageError
        When it cannot be read, or holds something else.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"The file cannot be read: {why}.", where=path, do="correct its name") from error
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            content = require("yaml", extra="tune", feature="A YAML file").safe_load(text)
        else:
            content = json.loads(text)
    except Exception as error:  # YAML's errors and JSON's share no base class
        raise UsageError(f"The file cannot be read: {error}.", where=path, allowed="YAML or JSON") from error
    if not isinstance(content, dict):
        raise UsageError("The file is not a mapping of names to values.", where=path, allowed="lr: 0.01")
    return {str(name): value for name, value in content.items()}


def _json_object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"What looks like hyperparameters is not a JSON object: {error}.", where=text[:80]) from error
    assert isinstance(values, dict)  # it begins with a brace
    return values


def _pair(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r:.100} is not a hyperparameter.", parameter="hyperparameters", allowed=_ALLOWED)
    return {name.strip(): value}


def _add(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if name in values:
            raise UsageError(
                f"Hyperparameter {name!r} is given twice.", parameter="hyperparameters", allowed="each once"
            )
        values[name] = value
