"""The stages of a job in the cell of a notebook that started it.

Drawn as HTML into one output that is replaced, which every front end shows (Jupyter, VS Code, Colab) and keeps: no
widget has to be installed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vizsla.progress.bars import STAGES
from vizsla.progress.trials import number
from vizsla.reports.render import duration, render
from vizsla.tuning.objective import Objective
from vizsla.tuning.trials import TrialRecord, best

_SECONDS_BETWEEN_PICTURES = 0.25
_MOST_NOTES = 30


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook: its shell has one."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


@dataclass
class Bar:
    """One stage: what it is called, how far it is, and when it began and ended (``time.monotonic()``)."""

    name: str
    total: int | None
    done: int = 0
    began: float = field(default_factory=lambda: time.monotonic())
    ended: float | None = None

    def row(self, failed: bool) -> dict[str, Any]:
        """What the cell shows of it."""
        seconds = (self.ended or time.monotonic()) - self.began
        running = self.ended is None and not failed
        left = seconds / self.done * (self.total - self.done) if running and self.total and self.done else None
        return {
            "name": STAGES.get(self.name, self.name),
            "state": "running" if running else "failed" if failed and self.ended is None else "done",
            "share": None if not self.total else min(1.0, self.done / self.total),
            "count": f"{self.done:,} of {self.total:,}" if self.total and self.done else "",
            "seconds": duration(seconds),
            "left": "" if left is None else f"{duration(left)} left",
        }


class CellView:
    """An observer that draws what it is told. ``display`` is IPython's."""

    def __init__(self, display: Any) -> None:
        self._stages: list[Bar] = []
        self._notes: list[str] = []
        self._best = ""
        self._failed = False
        self._drawn = time.monotonic()
        self._output = display(self, display_id=True)

    def stage(self, name: str, total: int | None = None) -> None:
        """Begin a new line."""
        self._end()
        self._stages.append(Bar(name, total))
        self._draw()

    def progress(self, done: int, total: int) -> None:
        """Move the bar."""
        if self._stages:
            self._stages[-1].done, self._stages[-1].total = done, total
        self._draw(_SECONDS_BETWEEN_PICTURES)

    def note(self, text: str) -> None:
        """Add a line below the stages."""
        self._notes.append(text)
        self._draw()

    def line(self, text: str) -> None:
        """Add it below the stages."""
        self.note(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a line for each row below the stages."""
        names = [column.removeprefix(">") for column in columns]
        for row in rows:
            first, *rest = zip(names, row, strict=True)
            self.note(f"{first[1]}: " + ", ".join(f"{name} {cell}" for name, cell in rest))

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        """Move the bar by the trials that ended, and say which is the best so far."""
        leader = best(trials, objective)
        if leader is not None:
            values = ", ".join(f"{name}={number(value)}" for name, value in leader.params.items())
            self._best = f"Best so far: trial {leader.number}, {objective.metric} {leader.value:.4g} ({values})"
        total = self._stages[-1].total if self._stages else None
        self.progress(sum(t.ended for t in trials), total or len(trials))

    def finish(self, failed: bool = False) -> None:
        """Draw how it ended."""
        self._failed = failed
        if not failed:
            self._end()
        self._draw()

    def _end(self) -> None:
        if self._stages:
            last = self._stages[-1]
            last.ended = time.monotonic()
            last.done = last.total or last.done

    def _draw(self, pause: float = 0.0) -> None:
        now = time.monotonic()
        if now - self._drawn >= pause:
            self._drawn = now
            self._output.update(self)

    def __repr__(self) -> str:
        if not self._stages:
            return "..."
        row = self._stages[-1].row(self._failed)
        return " ".join(str(row[part]) for part in ("name", "state", "count", "seconds", "left") if row[part])

    def _repr_html_(self) -> str:
        more = len(self._notes) - _MOST_NOTES
        return render(
            "progress.html.j2",
            rows=[stage.row(self._failed) for stage in self._stages],
            notes=self._notes[:_MOST_NOTES],
            more=more if more > 0 else 0,
            best=self._best,
        )


@contextmanager
def cell() -> Iterator[CellView]:
    """Show stages in the running cell while the block runs."""
    # Optuna imports tqdm, which then asks for widgets that nobody needs here.
    warnings.filterwarnings("ignore", message="IProgress not found")
    view = CellView(sys.modules["IPython"].display.display)
    try:
        yield view
    except BaseException:
        view.finish(failed=True)
        raise
    view.finish()
