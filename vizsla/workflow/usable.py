"""Whether what could be read of a data set in time still is one."""

from __future__ import annotations

from pathlib import Path

from vizsla.data import Dataset
from vizsla.errors import BudgetError, DataError
from vizsla.parameters import spelled
from vizsla.training.features import Extraction

DAMAGED = "damaged.jsonl"
"""Of a job's output: the pictures that could not be read."""


def check_usable(dataset: Dataset, extraction: Extraction, minutes: float | None, listed: Path) -> list[str]:
    """Warnings about what is left of a data set. ``minutes`` are those that were allowed; ``listed`` is where damaged
    pictures are.

    Raises
    ------
    BudgetError
        When too few pictures were reached in time.
    DataError
        When too few can be read.
    """
    damaged, unreached, usable = extraction.damaged, extraction.unreached, extraction.usable
    try:
        return list(dataset.check(usable))
    except DataError as error:
        if len(unreached):
            raise BudgetError(
                f"{minutes:g} minutes are too short: {int(usable.sum()):,} of {len(usable):,} pictures were reached. "
                f"{error.what}",
                where=dataset.root,
                do=f"raise {spelled('minutes')}; the features computed so far are kept, and the next run goes on "
                "from them",
            ) from error
        if damaged:
            row, first = next(iter(damaged.items()))
            raise DataError(
                f"{error.what} Damaged pictures: {len(damaged):,}, such as {dataset.paths[row]} ({first.what})",
                where=error.where,
                do=f"replace the damaged pictures; {listed} lists them",
            ) from error
        raise
