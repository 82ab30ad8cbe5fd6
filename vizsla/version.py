"""Which version this is, and where it lies."""

from __future__ import annotations

import os
from pathlib import Path

VERSION = "0.1.0"

PACKAGE = Path(__file__).parent
"""The folder ``vizsla``; a process that is to import it needs the folder above it on its path."""


def python_path(*before: str | None) -> str:
    """``PYTHONPATH`` for such a process: what is given, and for a checkout that is not installed its folder."""
    own = None if "site-packages" in PACKAGE.parts else str(PACKAGE.parent)
    return os.pathsep.join(filter(None, (*before, own)))
