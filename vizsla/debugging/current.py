"""The hooks of this process."""

from __future__ import annotations

import weakref
from typing import Any

hook: Any = None
"""The one that ``get_hook`` gives: a :class:`vizsla.debugging.hook.Hook`, or None."""
live: weakref.WeakSet[Any] = weakref.WeakSet()
"""All that record."""


def close_all() -> None:
    """End the recording: of a job that ran in this process."""
    global hook
    for own in list(live):
        own.close()
    hook = None
