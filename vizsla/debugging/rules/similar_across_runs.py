"""Another run that came to the same numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import TensorRule, matches
from vizsla.debugging.store import Reader, Row, folder_of
from vizsla.findings import Severity

_STEPS = 5


@dataclass
class SimilarAcrossRuns(TensorRule):
    """Looks when training has ended. Fires where the tensors that are chosen (by default losses) are equal to those of
    the run at ``other_trials`` (a job's folder) at all common steps, five at least. AWS does not say what it
    compares."""

    other_trials: str | None = None
    _other: dict[str, dict[int, float]] = field(default_factory=dict, init=False, repr=False)

    name: ClassVar[str] = "similar_across_runs"
    aws: ClassVar[str | None] = "SimilarAcrossRuns"
    automatic: ClassVar[bool] = False
    severity: ClassVar[Severity] = "info"
    fix: ClassVar[str] = "see that the hyperparameter that differs is used, and that the seed is another"
    why: ClassVar[str] = "the same run twice tells nothing new"

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        if not self.other_trials:
            return
        for path in self.other_trials.split(","):
            others = {(r.name, r.step): r.mean for r in Reader(folder_of(Path(path.strip()))).new_rows()}
            own = self._rows(history)
            pairs = [(r.mean, others[r.name, r.step]) for r in own if (r.name, r.step) in others]
            if len(pairs) >= _STEPS and _equal(pairs):
                yield self.found(
                    history,
                    f"{len(pairs)} values are those of {path.strip()}.",
                    subject=path.strip(),
                    value=len(pairs),
                    threshold=_STEPS,
                    n=len(pairs),
                )

    def _rows(self, history: History) -> list[Row]:
        if self.tensor_regex is not None:
            named = [rows for name, rows in history.by_name.items() if matches(self.tensor_regex, name)]
            return [row for rows in named for row in rows]
        names = [n.strip() for n in (self.collection_names or "losses").split(",")]
        return [row for name in names for rows in history.rows[name].values() for row in rows]


def _equal(pairs: list[tuple[float, float]]) -> bool:
    values = np.array(pairs)
    return bool(np.allclose(values[:, 0], values[:, 1], rtol=1e-5, equal_nan=True))


RULE = SimilarAcrossRuns
