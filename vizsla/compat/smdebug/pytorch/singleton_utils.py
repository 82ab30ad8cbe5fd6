"""The one hook of a process."""

from __future__ import annotations

import os

from smdebug.pytorch.hook import Hook

_hook: Hook | None = None


def get_hook(json_config_path: str | None = None, create_if_not_exists: bool = False) -> Hook | None:
    """The hook; made from the job's configuration when asked. None outside a job: scripts write ``if hook:``."""
    global _hook
    if _hook is None and create_if_not_exists and os.environ.get("USE_SMDEBUG", "1") not in ("0", "off", "False"):
        try:
            _hook = Hook.create_from_json_file(json_config_path)
        except FileNotFoundError:
            return None
    return _hook


def set_hook(custom_hook: Hook) -> None:
    """Make this the process's hook."""
    global _hook
    _hook = custom_hook


def del_hook() -> None:
    """Forget the process's hook."""
    global _hook
    _hook = None
