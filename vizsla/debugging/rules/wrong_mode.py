"""Training in evaluation mode, or evaluation in training mode."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import TRAINS, History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity


@dataclass
class WrongMode(BuiltIn):
    """Fires where optimizers step while the model is in evaluation mode with batch normalisation that was never
    trained (an error) or with dropout, or where a model with either is in training mode while it is evaluated."""

    name: ClassVar[str] = "wrong_mode"
    severity: ClassVar[Severity] = "warning"
    fix: ClassVar[str] = "call model.train() before each epoch of training and model.eval() before each evaluation"
    why: ClassVar[str] = "batch normalisation and dropout do another thing in each mode"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        flags = [row for row in history.at("facts") if row.name == "training"]
        if not flags:
            return
        is_training = bool(flags[0].mean)
        norms = [row.values for row in history.at("batch_norm") if row.values]
        dropouts = int(history.facts.get("dropouts") or 0)
        if history.mode == "EVAL" and is_training and (norms or dropouts):
            yield self.found(history, "The model is evaluated in training mode.", subject="EVAL", n=1)
        if history.mode in TRAINS and not is_training and history.at("updates"):
            began = [(history.by_name[r.name][0].values, r.values) for r in history.at("batch_norm")]
            fresh = [now for first, now in began if first and now and first[2] and now[5] and not now[3]]
            if fresh or (dropouts and not norms):
                yield self.found(
                    history,
                    "The model is trained in evaluation mode"
                    + (f": {len(fresh)} of {len(norms)} batch normalisations do nothing." if fresh else "."),
                    subject="TRAIN",
                    severity="error" if fresh else "warning",
                    n=1,
                )


RULE = WrongMode
