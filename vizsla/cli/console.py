"""How verbs talk: a live view of a job, tables, and the last line for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn

errors = Console(stderr=True, highlight=False)
"""Progress, notes and errors go to stderr, so that stdout holds results only."""

STAGES = {
    "dataset": "Reading the data set",
    "scan": "Looking at every picture",
    "labels": "Looking for label errors",
    "backbone": "Preparing the backbone",
    "features": "Computing features",
    "head": "Training the head",
    "evaluation": "Evaluating",
    "model": "Saving and proving the model",
    "report": "Writing the report",
}
"""What a stage is called for a person."""


class LiveView:
    """Shows the stages of a job as bars with the time left."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new bar."""
        self._finish()
        self._task = self._progress.add_task(STAGES.get(name, name), total=total)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(f"[yellow]note[/] {_plain(text)}")

    def _finish(self) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._task]
            total = task.completed if task.completed else 1
            self._progress.update(self._task, total=total, completed=total)


@contextmanager
def live_view() -> Iterator[LiveView]:
    """Show progress on stderr while the block runs; a file instead of a terminal gets plain lines."""
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
    )
    with Progress(*columns, console=errors, refresh_per_second=5) as progress:
        view = LiveView(progress)
        yield view
        view._finish()


def print_json(value: dict[str, Any]) -> None:
    """Print the last line of stdout: one JSON object."""
    print(json.dumps(value), flush=True)
    sys.stdout.flush()


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
