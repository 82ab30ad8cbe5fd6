"""Stages of a job as bars with the time left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from vizsla.tuning.objective import Objective
    from vizsla.tuning.trials import TrialRecord

AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Names of metrics, classes and paths are data: "[val] loss" and ":dog:" are printed as they are. Colour comes from
``Text``, never from brackets within a text."""

STAGES = {
    "dataset": "Reading the data set",
    "scan": "Looking at every picture",
    "labels": "Looking for label errors",
    "backbone": "Preparing the backbone",
    "choice": "Choosing what trains",
    "features": "Computing features",
    "head": "Training the head",
    "plan": "Measuring what training costs",
    "pixels": "Decoding the training pictures",
    "activations": "Running the blocks that stay",
    "fine-tuning": "Preparing to train the backbone",
    "epochs": "Training the backbone",
    "export": "Exporting the trained backbone",
    "trained features": "Computing features anew",
    "search": "Searching hyperparameters",
    "trials": "Running trials",
    "finalists": "Running finalists again",
    "evaluation": "Evaluating",
    "pictures": "Looking at the pictures",
    "training set": "Finding the training pictures",
    "the other model": "Asking the other model",
    "insights": "Looking for weak spots",
    "explanations": "Explaining",
    "metrics": "Computing metrics",
    "model": "Saving and proving the model",
    "report": "Writing the report",
}
"""What a stage is called for a person."""


def note_on(console: Console, text: str) -> None:
    """Print something that the person should know."""
    console.print(Text.assemble(("note", "yellow"), " ", text), soft_wrap=True)


def titled_table(title: str, *columns: str) -> Table:
    """An empty table; a column whose name begins with ``>`` is aligned on the right."""
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def progress_bars(console: Console) -> Progress:
    """Bars with counts and the time left."""
    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
    )
    return Progress(*columns, console=console, refresh_per_second=5)


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
        note_on(self.bars.console, text)

    def line(self, text: str) -> None:
        """Print it above the bars."""
        self.bars.console.print(text, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print it above the bars."""
        table = titled_table(title, *columns)
        for row in rows:
            table.add_row(*row)
        self.bars.console.print(table)

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
def stages_on(console: Console) -> Iterator[LiveView]:
    """Show stages while the block runs; a file instead of a terminal gets plain lines."""
    with progress_bars(console) as progress:
        view = LiveView(progress)
        yield view
        view.finish()
