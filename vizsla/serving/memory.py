"""Memory: what processes and folders hold, and what is free in Python's eyes back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path


def give_memory_back() -> None:
    """Free what failed requests left in circles (errors hold their frames, and those the bodies), then ask glibc to
    return what it keeps; elsewhere there is nothing to ask for. Takes some 30 ms."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process in bytes (``VmRSS``, proc(5)); 0 where that cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0)


def folder_bytes(folder: Path) -> int:
    """Bytes of the files below a folder. What is removed meanwhile counts nothing: Python puts what it has compiled
    beside a model's code, by way of files that it renames."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total
