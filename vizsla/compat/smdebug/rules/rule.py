"""The base class of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smdebug.trials.trial import Trial


class Rule:
    """Looks at one step at a time; a subclass says in :meth:`invoke_at_step` whether the condition is met."""

    def __init__(
        self, base_trial: Trial, action_str: str | None = None, other_trials: Sequence[Trial] | None = None
    ) -> None:
        self.base_trial, self.other_trials, self.action_str = base_trial, list(other_trials or []), action_str
        self.rule_name = type(self).__name__
        self.report: dict[str, Any] = {
            "RuleTriggered": 0,
            "Violations": 0,
            "Details": {},
            "Datapoints": 0,
            "RuleParameters": "",
        }

    def set_required_tensors(self, step: int) -> None:
        """Nothing; subclasses name tensors here."""

    def invoke_at_step(self, step: int) -> bool:
        """Whether the condition is met at this step."""
        raise NotImplementedError

    def invoke(self, step: int) -> bool:
        """Look at a step and count what was found."""
        self.report["Datapoints"] += 1
        met = bool(self.invoke_at_step(step))
        self.report["Violations"] += met
        self.report["RuleTriggered"] += met
        return met
