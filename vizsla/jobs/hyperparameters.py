"""Hyperparameters between values and the strings of a job's document, as SageMaker's SDK and toolkit have them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vizsla.errors import UsageError


def encoded(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as hyperparameter strings: text stays text, everything else is JSON, as SageMaker's SDK writes it.

    Text that :func:`decoded` would take for something else (``true``, ``null``, ``{}``) is put in JSON's quotes; text
    that is a number is one, in its own spelling: ``1e-3`` is 0.001 in ``SM_HPS`` and ``1e-3`` among the arguments.

    Raises
    ------
    UsageError
        For a value that JSON has no form for, and a name with the hyphens that a script gets it by.
    """
    return {str(name): _encode(str(name), value) for name, value in values.items()}


def _encode(name: str, value: Any) -> str:
    if name.startswith("-"):  # it would arrive as ----lr, which parse_known_args passes over
        raise UsageError(
            f"The name of hyperparameter {name!r} begins with a hyphen.",
            where=f"hyperparameters[{name!r}]",
            allowed=f"the name alone, {name.lstrip('-')!r}: a script gets it with its hyphens",
        )
    if isinstance(value, str) and (_decode(value) == value or is_number(_decode(value))):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"Hyperparameter {name!r} cannot be written down: {value!r:.80} ({error}).",
            where=f"hyperparameters[{name!r}]",
            allowed="text, numbers, true or false, None, and lists and dictionaries of them",
            do="give str(...) or float(...) of it",
        ) from error


def is_number(value: Any) -> bool:
    """Whether a value is a number and has a value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decoded(strings: dict[str, str]) -> dict[str, Any]:
    """Hyperparameter strings as values: each is JSON where it can be read so, else text."""
    return {name: _decode(text) for name, text in strings.items()}


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def is_users(name: str) -> bool:
    """Whether a hyperparameter is the script's own: the toolkit keeps the others to itself (its params.py)."""
    return not name.startswith("sagemaker_") and name not in ("_tuning_objective_metric", "default_user_module_name")
