"""What a rule of the profiler says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from vizsla.findings import StepFinding


@dataclass(frozen=True)
class ProfileFinding(StepFinding):
    """One thing that costs time or may end the job.

    Examples
    --------
    >>> ProfileFinding("data_stall", "warning", 40, "Steps wait.", "use 2 workers").note
    'data_stall, step 40: Steps wait. Do: use 2 workers.'
    """

    change: dict[str, Any] = field(default_factory=dict)
    """What to change, for a program: parameter, from, to."""
    seconds: float = 0.0
    """At most so many of the seconds that were seen would not have been needed (modelled, not measured)."""

    source: ClassVar[str] = "profiler"

    def to_dict(self) -> dict[str, Any]:
        """A line of ``findings.jsonl``."""
        values = super().to_dict()
        if not self.change:
            del values["change"]
        return values | {"expected_gain": {"metric": "seconds", "value": values.pop("seconds"), "how": "modelled"}}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From :meth:`to_dict`."""
        return super().from_dict(values | {"seconds": values.get("expected_gain", {}).get("value", 0.0)})
