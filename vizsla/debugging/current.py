"""The hook of this process."""

from __future__ import annotations

from typing import Any

hook: Any = None
"""A :class:`vizsla.debugging.hook.Hook`, or None."""
