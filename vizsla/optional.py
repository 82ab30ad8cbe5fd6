"""The one place where optional packages are imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from vizsla.errors import MissingExtraError


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import ``module`` or say which extra brings it.

    Raises
    ------
    MissingExtraError
        When the package that holds ``module`` is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature, extra, error.name or module) from error


def data_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """A ``pandas.DataFrame``.

    Raises
    ------
    MissingExtraError
        Without pandas.
    """
    pandas = require("pandas", extra="notebook", feature="A table as a pandas DataFrame")
    return pandas.DataFrame(rows, columns=list(columns))
