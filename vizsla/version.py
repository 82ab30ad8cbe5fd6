"""Which version this is, and where it lies."""

from __future__ import annotations

from pathlib import Path

VERSION = "0.1.0"

PACKAGE = Path(__file__).parent
"""The folder ``vizsla``; a process that is to import it needs the folder above it on its path."""
