"""What a long job tells whoever watches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord


class Observer(Protocol):
    """Watches a job. Calls come from any thread and must return quickly."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins; ``total`` steps where they can be counted."""
        return

    def progress(self, done: int, total: int) -> None:
        """``done`` of ``total`` steps of the stage are finished."""
        return

    def note(self, text: str) -> None:
        """Something that the person should know."""
        return

    def line(self, text: str) -> None:
        """A line as a training script would print it."""
        return

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table that the person should see; a column whose name begins with ``>`` holds numbers."""
        return

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        """The trials of a search, whenever one of them changes."""
        return


class Silent(Observer):
    """Watches and says nothing."""
