"""Training that goes on and on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity


@dataclass
class Overtraining(BuiltIn):
    """Fires where the mean validation loss of a pass has not fallen by ``delta`` (of itself) in
    ``patience_validation`` passes, or, where there are no validation pictures, the training loss in as many tenths of
    the training. AWS's counts recorded losses instead of passes."""

    patience_train: int = 5
    patience_validation: int = 10
    delta: float = 0.01
    _seen: int = field(default=0, init=False, repr=False)

    name: ClassVar[str] = "overtraining"
    aws: ClassVar[str | None] = "Overtraining"
    only_aws: ClassVar[frozenset[str]] = frozenset({"patience_train"})
    severity: ClassVar[Severity] = "info"
    fix: ClassVar[str] = "stop earlier: keep the best epoch and set a patience"
    why: ClassVar[str] = "the time is spent for nothing, and the model may get worse"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        if len(history.passes) == self._seen:
            return
        self._seen = len(history.passes)
        valid = [p.loss for p in history.passes]
        since = _since_better(valid, self.delta, relative=True)
        if since >= self.patience_validation:
            yield self.found(
                history,
                f"The validation loss has not got better in {since} passes: {valid[-1]:.3g}, the best was "
                f"{min(valid):.3g}.",
                value=valid[-1],
                best=min(valid),
                threshold=self.patience_validation,
                n=since,
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for kind, losses, patience in (
            ("training", history.train_losses, self.patience_train),
            ("validation", history.eval_losses, self.patience_validation),
        ):
            for name, series in losses.items():
                since = _since_better(series.values.tolist(), self.delta)
                if series.steps[-1] == history.step and since >= patience:
                    yield self.found(
                        history,
                        f"The {kind} loss {name} has not fallen by {self.delta:g} in {since} recorded steps.",
                        subject=name,
                        value=series.values[-1],
                        threshold=patience,
                        n=since,
                    )


def _since_better(values: Sequence[float], delta: float, *, relative: bool = False) -> int:
    """How many values came since the last that was lower than all before it by ``delta``."""
    best, since = float("inf"), 0
    for value in values:
        if value < (best * (1 - delta) if relative else best - delta):
            best, since = value, 0
        else:
            since += 1
    return since


RULE = Overtraining
