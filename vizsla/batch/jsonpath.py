"""The JSONPath of SageMaker's batch transform: children, indices, slices, wildcards.

Developer guide, "Associate Prediction Results with Input Records", supported JSONPath operators. Deep scans, filters
and functions are no part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from vizsla.errors import UsageError

MISSING = object()
"""What a path finds where nothing is."""

_OPERATORS = "$, .name, ['name', ...], [0, ...], [start:end], *"
_STEP = re.compile(
    r"\.(?P<child>[^.\[\]'\"*()?@\s]+)|\.(?P<dot_star>\*)|\[\s*(?:(?P<star>\*)|"
    r"(?P<names>(?:'[^']*'|\"[^\"]*\")(?:\s*,\s*(?:'[^']*'|\"[^\"]*\"))*)|"
    r"(?P<slice>-?\d*\s*:\s*-?\d*)|(?P<indices>-?\d+(?:\s*,\s*-?\d+)*))\s*\]"
)
_NAME = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True)
class JsonPath:
    """A path. :meth:`find` of ``{"a": [1, 2, 3], "b": 4}``:

    >>> document = {"a": [1, 2, 3], "b": 4}
    >>> [JsonPath.parse(text).find(document) for text in ("$", "$.a[0]", "$.a[0:2]", "$['b','a']", "$.*")]
    [{'a': [1, 2, 3], 'b': 4}, 1, [1, 2], {'b': 4, 'a': [1, 2, 3]}, [[1, 2, 3], 4]]
    >>> JsonPath.parse("$.c").find(document) is MISSING
    True
    """

    text: str
    steps: tuple[tuple[Any, ...], ...]

    @classmethod
    def parse(cls, text: str, parameter: str = "") -> JsonPath:
        """Read a path.

        Raises
        ------
        UsageError
            Where it is none, or uses operators that batch transform does not have.
        """
        steps, at = [], 1
        while at < len(text) and text.startswith("$"):
            match = _STEP.match(text, at)
            if match is None:
                break
            steps.append(_step(match))
            at = match.end()
        if not text.startswith("$") or at < len(text):
            raise UsageError(
                f"The filter {text!r} cannot be read" + (f" from {text[at:]!r} on." if text.startswith("$") else "."),
                parameter=parameter or None,
                allowed=f"JSONPath with the operators {_OPERATORS}",
                do="begin with $, which is the whole record",
            )
        return cls(text, tuple(steps))

    def find(self, document: Any) -> Any:
        """What lies there: one value, a list of them, an object of named ones; :data:`MISSING` for nothing."""
        return _find(document, self.steps)


def _step(match: re.Match[str]) -> tuple[Any, ...]:
    if match["child"]:
        return ("names", [match["child"]])
    if match["star"] or match["dot_star"]:
        return ("all",)
    if match["names"]:
        return ("names", [one or other for one, other in _NAME.findall(match["names"])])
    if match["slice"]:
        start, _, end = match["slice"].replace(" ", "").partition(":")
        return ("slice", slice(int(start) if start else None, int(end) if end else None))
    return ("indices", [int(index) for index in match["indices"].split(",")])


def _find(value: Any, steps: tuple[tuple[Any, ...], ...]) -> Any:
    for place, (kind, *argument) in enumerate(steps):
        rest = steps[place + 1 :]
        if kind == "names" and isinstance(value, dict):
            names = argument[0]
            if len(names) > 1:
                chosen = {name: _find(value[name], rest) for name in names if name in value}
                return {name: found for name, found in chosen.items() if found is not MISSING} or MISSING
            value = value.get(names[0], MISSING)
        elif kind == "indices" and isinstance(value, list) and len(argument[0]) == 1:
            index = argument[0][0]
            value = value[index] if -len(value) <= index < len(value) else MISSING
        elif kind == "indices" and isinstance(value, list):
            return _several([value[i] for i in argument[0] if -len(value) <= i < len(value)], rest)
        elif kind == "slice" and isinstance(value, list):
            return _several(value[argument[0]], rest)
        elif kind == "all" and isinstance(value, list | dict):
            return _several(list(value.values()) if isinstance(value, dict) else value, rest)
        else:
            return MISSING
        if value is MISSING:
            return MISSING
    return value


def _several(values: list[Any], rest: tuple[tuple[Any, ...], ...]) -> Any:
    return [found for value in values if (found := _find(value, rest)) is not MISSING] or MISSING
