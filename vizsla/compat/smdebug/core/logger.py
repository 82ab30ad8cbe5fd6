"""The logger that scripts ask for."""

from __future__ import annotations

import logging


def get_logger(name: str = "smdebug") -> logging.Logger:
    """Python's own logger of this name."""
    return logging.getLogger(name)
