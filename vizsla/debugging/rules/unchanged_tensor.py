"""A weight that its optimizer does not change."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, of_layers
from vizsla.debugging.rules.base import TensorRule
from vizsla.findings import Severity


@dataclass
class UnchangedTensor(TensorRule):
    """Fires where an optimizer steps and leaves weights that are not frozen as they are, in ``num_steps`` recorded
    steps in a row. AWS's: ``numpy.allclose`` of the last ``num_steps``, of any tensor; here by its mean, size and
    ends."""

    num_steps: int = 3
    rtol: float = 1e-5
    atol: float = 1e-8
    equal_nan: bool = False

    name: ClassVar[str] = "unchanged_tensor"
    aws: ClassVar[str | None] = "UnchangedTensor"
    only_aws: ClassVar[frozenset[str]] = frozenset({"rtol", "atol", "equal_nan", "collection_names", "tensor_regex"})
    severity: ClassVar[Severity] = "error"
    fix: ClassVar[str] = "look at the learning rate (0 at this layer?) and at what the optimizer was given"
    why: ClassVar[str] = "nothing is learned there"

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        steps = list(history.rows["updates"])[-self.num_steps :]
        if len(steps) < self.num_steps or steps[-1] != history.step:
            return
        names = [{r.name for r in of_layers(history.at("updates", s)) if r.l2 == 0} for s in steps]
        still = set.intersection(*names)
        total = len(of_layers(history.at("updates")))
        if still and len(still) >= max(1, total // 4):
            yield self.found(
                history,
                f"The optimizer has stepped {len(steps)} times and left {len(still)} of {total} weights as they were, "
                f"such as {min(still).removeprefix('update/')}.",
                value=0.0,
                n=len(steps),
                tensors=sorted(still)[:10],
            )

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        for row in self.chosen(history, ("weights",)):
            rows = history.last(row.name, self.num_steps)
            if len(rows) == self.num_steps and all(self._close(rows[0], other) for other in rows[1:]):
                yield self.found(
                    history, f"{row.name} is as it was {self.num_steps} recorded steps ago.", subject=row.name, n=row.n
                )

    def _close(self, first: object, other: object) -> bool:
        pairs = [(getattr(first, name), getattr(other, name)) for name in ("min", "max", "mean", "l2")]
        return all(
            math.isclose(a, b, rel_tol=self.rtol, abs_tol=self.atol)
            or (self.equal_nan and math.isnan(a) and math.isnan(b))
            for a, b in pairs
        )


RULE = UnchangedTensor
