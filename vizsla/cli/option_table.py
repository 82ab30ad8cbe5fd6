"""Options of a verb that come from a table instead of its signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

OptionTable = Mapping[str, tuple[object, Any]]
"""The type and typer's option, by name."""


def with_table(
    verb: Callable[..., None], table: OptionTable, names: tuple[str, ...], fill: Callable[[dict[str, Any]], Any]
) -> Callable[..., None]:
    """Give a verb the options of a table, in the place of its first parameter of ``names``.

    Parameters
    ----------
    fill:
        Makes of the options' values, by name, what the verb gets as its parameters ``names``: a tuple of as many.
    """
    before = inspect.signature(verb)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    for name, parameter in before.parameters.items():
        if name == names[0]:
            parameters += [
                inspect.Parameter(option, keyword, default=default, annotation=type_)
                for option, (type_, default) in table.items()
            ]
        elif name not in names:
            parameters.append(parameter.replace(kind=keyword))

    @functools.wraps(verb)
    def with_options(**values: Any) -> None:
        filled = fill({name: values.pop(name) for name in table})
        verb(**dict(zip(names, filled, strict=True)), **values)

    with_options.__signature__ = before.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options
