"""Where jobs run: an executor is a module here, and its name is the module's."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from vizsla.errors import UsageError

if TYPE_CHECKING:
    from vizsla.jobs.executors.base import Executor


def names() -> list[str]:
    """The executors there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def open_executor(name: str, home: Path | None = None, where: str | None = None) -> Executor:
    """The executor of this name, for the jobs in ``home``; its module, named like it, says ``EXECUTOR``.

    An address, such as ``ray://head:10001``, is the executor that its scheme names, at that place.

    Raises
    ------
    UsageError
        When there is none.

    Examples
    --------
    >>> open_executor("local").name
    'local'
    """
    scheme, at, _ = name.partition("://")
    if scheme not in names():
        raise UsageError(
            f"There is no executor {name!r}.", parameter="executor", where=where, allowed=", ".join(names())
        )
    executor: type[Executor] = importlib.import_module(f"{__name__}.{scheme}").EXECUTOR
    if at and not executor.has_address:
        raise UsageError(f"The executor {scheme} is at no address.", parameter="executor", where=where)
    return executor(home, address=name) if at else executor(home)
