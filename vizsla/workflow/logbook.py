"""What a job tells, as lines of its log."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord
from vizsla.workflow.observer import Observer, Silent

_SECONDS_BETWEEN_LINES = 5.0


class Logbook:
    """Writes stages, notes and, every five seconds, progress as lines; tells ``then`` the same."""

    def __init__(self, stream: TextIO, then: Observer | None = None) -> None:
        self._stream, self._then = stream, then or Silent()
        self._stage = ""
        self._written = 0.0
        self._printed: set[int] = set()

    def stage(self, name: str, total: int | None = None) -> None:
        """A line that the stage begins."""
        self._stage, self._written = name, time.monotonic()
        self._line(name if total is None else f"{name}: {total:,} steps")
        self._then.stage(name, total)

    def progress(self, done: int, total: int) -> None:
        """Now and then a line with the count."""
        now = time.monotonic()
        if now - self._written > _SECONDS_BETWEEN_LINES:
            self._written = now
            self._line(f"{self._stage}: {done:,} of {total:,}")
        self._then.progress(done, total)

    def note(self, text: str) -> None:
        """A line with the note."""
        self._line(f"note: {text}")
        self._then.note(text)

    def line(self, text: str) -> None:
        """The line."""
        self._line(text)
        self._then.line(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A line for each row, with the names of its columns."""
        self._line(f"{title}:")
        names = [column.removeprefix(">") for column in columns]
        for row in rows:
            self._line("  " + "; ".join(f"{name}: {cell}" for name, cell in zip(names, row, strict=True)))
        self._then.table(title, columns, rows)

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        """A line when a trial ends."""
        for trial in trials:
            if trial.ended and trial.number not in self._printed:
                self._printed.add(trial.number)
                value = "" if trial.value is None else f" {objective.metric}={trial.value:.6g}"
                reason = f" ({trial.reason})" if trial.reason else ""
                self._line(f"trial {trial.number} {trial.status}{value}{reason} {json.dumps(trial.params)}")
        self._then.trials(trials, objective)

    def _line(self, text: str) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._stream.write(f"{stamp} {text}\n")
        self._stream.flush()
