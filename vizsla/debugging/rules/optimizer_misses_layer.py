"""Parameters that should train and that no optimizer holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.rules.base import BuiltIn
from vizsla.findings import Severity


@dataclass
class OptimizerMissesLayer(BuiltIn):
    """Fires where weights that are not frozen are in none of the optimizers that step: a last layer that was replaced
    after the optimizer was made (an error), all before some last layers (information: they could be frozen, which saves
    their gradients), or others."""

    name: ClassVar[str] = "optimizer_misses_layer"
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "make the optimizer after the last change of the model, of all parameters that are to train"
    why: ClassVar[str] = "what no optimizer holds stays as it was initialised"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        optimizers = (history.facts.get("optimizers") or {}).values()
        if history.updated_steps < 3 or not optimizers or not history.at("updates"):
            return
        held = {name for facts in optimizers for name in facts["holds"]}
        trains = [k for k, v in history.facts["parameters"].items() if v["trains"] and len(v["shape"]) > 1]
        missing = [name for name in trains if name not in held]
        if missing:
            last = trains[-1] in missing
            is_head_alone = not last and trains[: len(missing)] == missing  # a new head on a backbone that is to stay
            yield self.found(
                history,
                f"No optimizer holds {len(missing)} of {len(trains)} weights that train"
                + (f", the last layer {trains[-1]} among them." if last else f", such as {missing[0]}."),
                severity="error" if last else "info" if is_head_alone else "warning",
                value=len(missing),
                threshold=0,
                n=len(trains),
                tensors=missing[:10],
            )


RULE = OptimizerMissesLayer
