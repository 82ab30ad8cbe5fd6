"""The kinds of jobs: a module here says what the document of its kind is and how it runs, is resumed and recorded."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from vizsla.errors import JobError
from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.spec import TrainingJobSpec


def names() -> list[str]:
    """The kinds there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def kind_of(name: str) -> Kind:
    """The kind of this name; of one that is not known here, jobs are listed and shown but not run.

    Examples
    --------
    >>> kind_of("tune").resume.format(job="mine")
    'vizsla tune resume mine'
    """
    if name in names():
        kind: Kind = importlib.import_module(f"{__name__}.{name}").KIND
        return kind

    def unknown(document: dict[str, Any]) -> TrainingJobSpec:
        raise JobError(f"Jobs of the kind {name!r} are not known to this version.", allowed=", ".join(names()))

    return Kind(unknown)
