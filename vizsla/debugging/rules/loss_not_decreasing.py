"""A loss that does not fall."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, Series
from vizsla.debugging.rules.base import TensorRule
from vizsla.findings import Severity

_LEAST, _PATIENCE = 80, 3
_LOW = 0.25
_LEARNED, _MORE = 0.6, 4
"""A loss that begins below that share of guessing's is that of a model that has learned before: it has less to gain,
and its first epoch warms up. It gets so many times the steps."""


@dataclass
class LossNotDecreasing(TensorRule):
    """Fires where the mean of the last third of the training losses is not below that of the first third by more than
    a standard error, three times in a row after 80 steps (320 where the model had learned before), and is not low
    already. AWS's: every ``num_steps`` steps, a
    loss that did not fall by ``diff_percent`` since ``num_steps`` before."""

    use_losses_collection: bool = True
    num_steps: int = 10
    diff_percent: float = 0.1
    increase_threshold_percent: float = 5.0
    mode: str | None = None
    _strikes: int = field(default=0, init=False, repr=False)
    _checked: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "loss_not_decreasing"
    aws: ClassVar[str | None] = "LossNotDecreasing"
    only_aws: ClassVar[frozenset[str]] = frozenset(
        {
            "use_losses_collection",
            "num_steps",
            "diff_percent",
            "increase_threshold_percent",
            "mode",
            "collection_names",
            "tensor_regex",
        }
    )
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = (
        "try the learning rate ten times lower and higher, and see that the optimizer has the parameters"
    )
    why: ClassVar[str] = "the model does not get better at what it trains for"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        series = history.losses
        n, chance = len(series), history.chance
        had_learned = chance is not None and n >= _LEAST and np.mean(series.values[: _LEAST // 3]) < _LEARNED * chance
        if (
            n < _LEAST * (_MORE if had_learned else 1)
            or n - self._checked < max(5, n // 10)
            or history.step != series.steps[-1]
        ):
            return
        self._checked = n
        values = series.values
        first, last = values[: n // 3], values[-(n // 3) :]
        if not np.isfinite(values).all() or last.mean() < _LOW * (chance or first[: max(3, n // 20)].mean()):
            return
        error = float(np.sqrt(first.var(ddof=1) / len(first) + last.var(ddof=1) / len(last)))
        fall = float(first.mean() - last.mean())
        flat = fall <= error and np.median(last) > 0.97 * np.median(first)
        self._strikes = self._strikes + 1 if flat else 0
        if self._strikes >= _PATIENCE:
            yield self.found(
                history,
                f"The training loss has not fallen: {first.mean():.4g} in the first third of {n:,} steps, "
                f"{last.mean():.4g} in the last.",
                value=last.mean(),
                before=first.mean(),
                threshold=error,
                n=n,
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        if self.collection_names or self.tensor_regex or not self.use_losses_collection:
            for row in self.chosen(history):
                values = Series()
                for earlier in history.by_name[row.name]:
                    values.append(earlier.step, earlier.mean)
                yield self._compare(history, row.name, values)
            return
        modes = {"TRAIN": history.train_losses, "EVAL": history.eval_losses, "GLOBAL": history.train_losses}
        chosen = modes.get(str(self.mode).upper().rpartition(".")[2]) or history.eval_losses or history.train_losses
        for name, series in chosen.items():
            if series.steps[-1] == history.step:
                yield self._compare(history, name, series)

    def _compare(self, history: History, name: str, series: Series) -> RuleFinding | None:
        if series.steps[-1] - self._checked < self.num_steps:
            return None
        earlier = [i for i, step in enumerate(series.steps) if series.steps[-1] - step >= self.num_steps]
        if not earlier:
            return None
        self._checked = series.steps[-1]
        before, now = series.values[earlier[-1]], series.values[-1]
        rose = now > before * (1 + self.increase_threshold_percent / 100)
        if now > before * (1 - self.diff_percent / 100) or rose:
            return self.found(
                history,
                f"{name} is {now:.4g}, after {before:.4g} {self.num_steps} steps before.",
                value=now,
                before=before,
                threshold=self.diff_percent,
                n=self.num_steps,
            )
        return None


RULE = LossNotDecreasing
