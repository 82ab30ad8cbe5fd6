"""The one hook of a process."""

from __future__ import annotations

from smdebug.pytorch.hook import Hook
from vizsla.debugging import singleton
from vizsla.debugging.singleton import del_hook, set_hook

__all__ = ["del_hook", "get_hook", "set_hook"]


def get_hook(json_config_path: str | None = None, create_if_not_exists: bool = False) -> Hook | None:
    """The hook; made from the job's configuration when asked. None outside a job: scripts write ``if hook:``."""
    return singleton.get_hook(json_config_path, create_if_not_exists, Hook)  # type: ignore[return-value]
