"""What a rule says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vizsla.findings import Confidence, Severity


@dataclass(frozen=True)
class RuleFinding:
    """One thing that is wrong, at a step.

    Examples
    --------
    >>> RuleFinding("exploding_tensor", "error", 12, "The loss is NaN.", "lower the learning rate").note
    'exploding_tensor, step 12: The loss is NaN. Do: lower the learning rate.'
    """

    rule: str
    severity: Severity
    step: int
    """Over all modes."""
    message: str
    """What was seen, a sentence."""
    fix: str
    """What to change."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The values, the threshold and their number."""
    why: str = ""
    """Why it matters."""
    confidence: Confidence = "high"
    mode: str = "TRAIN"
    subject: str = ""
    """The tensor or layer, where it is about one: a rule speaks once of each."""
    configuration: str = ""
    """What the rule's configuration is called, where a job's document has one: several may ask one rule."""

    @property
    def note(self) -> str:
        """For a terminal."""
        return f"{self.rule}, step {self.step:,}: {self.message} Do: {self.fix}."

    def to_dict(self) -> dict[str, Any]:
        """A line of ``findings.jsonl``."""
        values = {key: _plain(value) for key, value in vars(self).items() if value != ""}
        return {"id": f"debugger-{self.rule}", "source": "debugger", **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RuleFinding:
        """From :meth:`to_dict`."""
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
