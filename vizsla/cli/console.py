"""How verbs talk: a live view of a job, tables, and the last line for scripts."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console

from vizsla.progress.bars import AS_IT_IS, LiveView, note_on, stages_on, titled_table

__all__ = ["errors", "live_view", "print_json", "print_note", "results", "titled_table"]

errors = Console(stderr=True, **AS_IT_IS)
"""Progress, notes and errors go to stderr, so that stdout holds results only."""
_WIDTH_OF_A_FILE = 200


def results(as_json: bool = False) -> Console:
    """Where a verb prints what it was asked for: stdout, or stderr where stdout is to hold JSON alone."""
    if as_json:
        return errors
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if has_width else _WIDTH_OF_A_FILE, **AS_IT_IS)  # for grep, names are not cut at 80


def print_note(text: str) -> None:
    """Print to stderr something that the person should know."""
    note_on(errors, text)


def live_view() -> AbstractContextManager[LiveView]:
    """Show the stages of a job on stderr while the block runs."""
    return stages_on(errors)


def print_json(value: dict[str, Any]) -> None:
    """Print the last line of stdout: one JSON object, with null where a number is none."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)
