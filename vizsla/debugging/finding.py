"""What a rule of the debugger says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vizsla.findings import StepFinding


@dataclass(frozen=True)
class RuleFinding(StepFinding):
    """One thing that is wrong, at a step.

    Examples
    --------
    >>> RuleFinding("exploding_tensor", "error", 12, "The loss is NaN.", "lower the learning rate").note
    'exploding_tensor, step 12: The loss is NaN. Do: lower the learning rate.'
    """

    mode: str = "TRAIN"
    configuration: str = ""
    """What the rule's configuration is called, where a job's document has one: several may ask one rule."""

    source: ClassVar[str] = "debugger"
