"""The one hook of a process."""

from __future__ import annotations

import os
import sys

from vizsla.debugging import current
from vizsla.debugging.hook import Hook
from vizsla.errors import VizslaError


def get_hook(
    json_config_path: str | os.PathLike[str] | None = None, create_if_not_exists: bool = False, kind: type[Hook] = Hook
) -> Hook | None:
    """The process's hook; made from the job's configuration when asked.

    None outside a job, where no configuration is: scripts write ``if hook:``. Of a configuration that cannot be meant
    the hook is off and says why.
    """
    if current.hook is not None and current.hook.is_closed:  # of an earlier job in this process
        current.hook = None
    if (
        current.hook is None
        and create_if_not_exists
        and os.environ.get("USE_SMDEBUG", "1") not in ("0", "off", "False")
    ):
        try:
            kind.create_from_json_file(json_config_path)
        except FileNotFoundError:
            return None
        except VizslaError as error:
            current.hook = kind(dry_run=True)
            print(f"[vizsla] the debugger's hook is off: {error}", file=sys.stderr, flush=True)
    hook: Hook | None = current.hook
    return hook


def set_hook(custom_hook: Hook) -> None:
    """Make this the process's hook."""
    current.hook = custom_hook


def del_hook() -> None:
    """Forget the process's hook."""
    current.hook = None
