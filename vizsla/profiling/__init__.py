"""Where the time and the machine went, and what to change.

>>> from vizsla.profiling import JobProfile
>>> JobProfile("runs/train-flowers").system_metrics()  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vizsla.profiling.finding import ProfileFinding as ProfileFinding
    from vizsla.profiling.profile import JobProfile as JobProfile
    from vizsla.profiling.timeline import phase as phase

_WHERE = {"JobProfile": "profile", "ProfileFinding": "finding", "phase": "timeline"}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value
