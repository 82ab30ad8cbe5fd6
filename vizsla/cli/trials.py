"""What a search found, on the terminal."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from vizsla.cli.console import errors, print_note, results
from vizsla.progress.trials import TrialView, number, table, trials_on

if TYPE_CHECKING:
    from vizsla.tuning.result import SearchResult


def trial_view() -> AbstractContextManager[TrialView]:
    """Show stages and trials on stderr while the block runs."""
    return trials_on(errors)


def print_search(result: SearchResult, as_json: bool, noted: Collection[str]) -> None:
    """The whole table, who won and why; of the notes those that were not ``noted`` on the way."""
    from vizsla.reports.render import duration

    out = results(as_json)
    out.print(table(result.trials, result.objective, winner=result.winner.number))
    for note in result.notes:
        if note not in noted:
            print_note(note)
    out.print(f"The search ended after {duration(result.seconds)}: {result.reason}.")
    if result.verdict is not None:
        out.print(result.verdict.words)
    values = " ".join(f"{name}={number(value)}" for name, value in result.hyperparameters().items())
    out.print(f"winner  trial {result.winner.number}: {values}", soft_wrap=True)
