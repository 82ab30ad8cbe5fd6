"""How verbs talk: a live view of a job, tables, and the last line for scripts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.text import Text

if TYPE_CHECKING:
    from vizsla.tuning.objective import Objective
    from vizsla.tuning.trials import TrialRecord

_AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Names of metrics, classes and paths are data: "[val] loss" and ":dog:" are printed as they are. Colour comes from
``Text``, never from brackets within a text."""

errors = Console(stderr=True, **_AS_IT_IS)
"""Progress, notes and errors go to stderr, so that stdout holds results only."""
_WIDTH_OF_A_FILE = 200


def results(as_json: bool = False) -> Console:
    """Where a verb prints what it was asked for: stdout, or stderr where stdout is to hold JSON alone."""
    if as_json:
        return errors
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else _WIDTH_OF_A_FILE, **_AS_IT_IS)  # for grep, names are not cut at 80


def print_note(text: str) -> None:
    """Print to stderr something that the person should know."""
    errors.print(Text.assemble(("note", "yellow"), " ", text), soft_wrap=True)


STAGES = {
    "dataset": "Reading the data set",
    "scan": "Looking at every picture",
    "labels": "Looking for label errors",
    "backbone": "Preparing the backbone",
    "features": "Computing features",
    "head": "Training the head",
    "search": "Searching hyperparameters",
    "trials": "Running trials",
    "finalists": "Running finalists again",
    "evaluation": "Evaluating",
    "model": "Saving and proving the model",
    "report": "Writing the report",
}
"""What a stage is called for a person."""


def progress_bars() -> Progress:
    """Bars with counts and the time left, on stderr."""
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
    )
    return Progress(*columns, console=errors, refresh_per_second=5)


class LiveView:
    """Shows the stages of a job as bars with the time left."""

    def __init__(self, progress: Progress) -> None:
        self.bars = progress
        self._task: TaskID | None = None
        self.noted: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new bar."""
        self.finish()
        self._task = self.bars.add_task(STAGES.get(name, name), total=total)

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self.bars.update(self._task, completed=done, total=total)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self.noted.append(text)
        print_note(text)

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        """Move the bar: one step for each trial that ended."""
        if self._task is not None and trials:
            self.bars.update(self._task, completed=sum(t.ended for t in trials))

    def finish(self) -> None:
        """Fill the last bar."""
        if self._task is not None:
            task = self.bars.tasks[self._task]
            total = task.completed if task.completed else 1
            self.bars.update(self._task, total=total, completed=total)


@contextmanager
def live_view() -> Iterator[LiveView]:
    """Show progress on stderr while the block runs; a file instead of a terminal gets plain lines."""
    with progress_bars() as progress:
        view = LiveView(progress)
        yield view
        view.finish()


def print_json(value: dict[str, Any]) -> None:
    """Print the last line of stdout: one JSON object, with null where a number is none."""
    import orjson

    print(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode(), flush=True)
