"""The trials of a search on the terminal: a live table with each trial's curve, or a line a trial in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vizsla.progress.bars import LiveView, progress_bars

if TYPE_CHECKING:
    from vizsla.tuning.objective import Objective
    from vizsla.tuning.trials import TrialRecord

_BLOCKS = "▁▂▃▄▅▆▇█"
_MOST_ROWS = 20
_CURVE = 24
_SHORT_CURVE = 8
"""Where many parameters share the 80 columns of a terminal."""
_COLOURS = {"InProgress": "cyan", "Completed": "green", "Stopped": "yellow", "Failed": "red"}


def sparkline(values: Sequence[float], low: float, high: float, most: int = _CURVE) -> str:
    """A curve in one line, at most ``most`` characters; a value that is no number is a blank.

    Values beyond ``low`` and ``high`` are drawn at those ends.
    """
    step = max(1.0, len(values) / most)
    shown = [values[min(int((i + 1) * step), len(values)) - 1] for i in range(min(len(values), most))]
    spread = high - low
    return "".join(
        _BLOCKS[int(min(max((v - low) / spread * len(_BLOCKS), 0), len(_BLOCKS) - 1)) if spread > 0 else 0]
        if math.isfinite(v)
        else " "
        for v in shown
    )


def table(
    trials: Sequence[TrialRecord], objective: Objective, winner: int | None = None, most: int | None = None
) -> Table:
    """The trials, the best and the running ones where not all fit."""
    from vizsla.tuning.trials import best

    leader = best(trials, objective)
    marked = winner if winner is not None else None if leader is None else leader.number
    shown = _chosen(trials, objective, most)
    finite = [v for t in trials for v in (*t.curve, t.value) if v is not None and math.isfinite(v)]
    # One scale for all; the worst tenth would flatten the rest.
    ends = sorted(finite, key=objective.cost)[: max(1, math.ceil(0.9 * len(finite)))]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    title = f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'}, {objective.direction} {objective.metric}"
    if len(shown) < len(trials):
        title += f" (showing {len(shown)})"
    made = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    made.add_column("#", justify="right")
    made.add_column("status", no_wrap=True, min_width=10)
    names = list(dict.fromkeys(name for t in shown for name in t.params))
    for name in names:
        made.add_column(name, justify="right", overflow="fold")
    made.add_column(objective.metric, justify="right")
    made.add_column("curve", no_wrap=True, min_width=8)
    for t in shown:
        value = "" if t.value is None else f"{t.value:.4f}"
        made.add_row(
            f"★ {t.number}" if t.number == marked else str(t.number),
            Text(t.status, style=_COLOURS[t.status]),
            *(number(t.params.get(name, "")) for name in names),
            value,
            sparkline(t.curve, low, high, _CURVE if len(names) <= 2 else _SHORT_CURVE) if len(t.curve) > 1 else "",
            style="bold" if t.number == marked else None,
        )
    return made


def number(value: Any) -> str:
    """A value for a narrow column."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chosen(trials: Sequence[TrialRecord], objective: Objective, most: int | None) -> list[TrialRecord]:
    if most is None or len(trials) <= most:
        return list(trials)
    running = [t for t in trials if not t.ended][: most // 2]
    rest = sorted(
        (t for t in trials if t.ended), key=lambda t: (not t.complete, objective.cost(t.value or 0.0), t.number)
    )
    return sorted([*running, *rest[: most - len(running)]], key=lambda t: t.number)


class TrialView(LiveView):
    """Stages as bars, and under them the trials."""

    def __init__(self, console: Console) -> None:
        super().__init__(progress_bars(console))
        self._trials: Sequence[TrialRecord] = ()
        self._objective: Objective | None = None
        self._printed: set[int] = set()

    def trials(self, trials: Sequence[TrialRecord], objective: Objective) -> None:
        """Remember the trials for the next picture; without a terminal, print those that ended."""
        super().trials(trials, objective)
        self._trials, self._objective = trials, objective
        if self.bars.console.is_terminal:
            return
        for t in trials:
            if t.ended and t.number not in self._printed:
                self._printed.add(t.number)
                params = " ".join(f"{name}={number(value)}" for name, value in t.params.items())
                value = "" if t.value is None else f"{objective.metric}={t.value:.5g} "
                self.bars.console.print(
                    f"trial {t.number:3} {t.status:10} {value}{params}{f'  ({t.reason})' if t.reason else ''}",
                    soft_wrap=True,
                )

    def __rich__(self) -> Group:
        parts: list[Any] = [self.bars]
        if self._trials and self._objective is not None:
            parts.append(table(self._trials, self._objective, most=_MOST_ROWS))
        return Group(*parts)


@contextmanager
def trials_on(console: Console) -> Iterator[TrialView]:
    """Show stages and trials while the block runs."""
    view = TrialView(console)
    if not console.is_terminal:
        with view.bars:
            yield view
            view.finish()
        return
    with Live(view, console=console, refresh_per_second=4, transient=True):
        yield view
        view.finish()
