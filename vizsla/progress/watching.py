"""Where a job is watched: in a notebook its cell, else stderr, as the command line does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from vizsla.progress.bars import AS_IT_IS, stages_on
from vizsla.progress.cell import cell, in_notebook
from vizsla.progress.trials import trials_on
from vizsla.workflow.observer import Observer, Silent


@contextmanager
def watching(progress: bool = True, *, trials: bool = False) -> Iterator[Observer]:
    """Show a job while the block runs; without ``progress`` say nothing. ``trials`` are those of a search."""
    if not progress:
        yield Silent()
    elif in_notebook():
        with cell() as view:
            yield view
    else:
        console = Console(stderr=True, **AS_IT_IS)
        with trials_on(console) if trials else stages_on(console) as view:
            yield view
