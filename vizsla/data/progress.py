"""How a long way to the data is watched."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all (0 where that is unknown), from any thread."""
