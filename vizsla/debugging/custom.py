"""Rules of a user's own, in a file of theirs."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vizsla.debugging.rules.base import Rule
from vizsla.debugging.trial import Trial
from vizsla.errors import UsageError


def custom_rule(file: str, name: str, trial: Trial, parameters: Mapping[str, Any] | None = None) -> Rule:
    """The rule ``name``, a subclass of :class:`~vizsla.debugging.rules.base.Rule`, of a Python file.

    Its constructor gets the trial, and the parameters by their names.

    Raises
    ------
    UsageError
        When the file, the class or its constructor cannot be used.
    """
    path = Path(file.removeprefix("file://"))
    if not path.is_file():
        raise UsageError(f"There is no file {file!r} with rules.", where="rule", allowed="FILE.py:CLASS")
    spec = importlib.util.spec_from_file_location(f"vizsla_rules_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"The rules cannot be imported: {type(error).__name__}: {error}.", where=path) from error
    kind = getattr(module, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, Rule)):
        known = [n for n, k in vars(module).items() if inspect.isclass(k) and issubclass(k, Rule) and k is not Rule]
        raise UsageError(
            f"There is no rule {name!r} in {path.name}.",
            where=path,
            allowed=", ".join(known) or "a subclass of vizsla.debugging.Rule",
        )
    try:
        return kind(trial, **(parameters or {}))
    except TypeError as error:
        raise UsageError(f"The rule {name} cannot be made: {error}.", where=path) from error
