"""What a rule of the profiler says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vizsla.findings import Confidence, Severity


@dataclass(frozen=True)
class ProfileFinding:
    """One thing that costs time or may end the job.

    Examples
    --------
    >>> ProfileFinding("data_stall", "warning", 40, "Steps wait.", "use 2 workers").note
    'data_stall, step 40: Steps wait. Do: use 2 workers.'
    """

    rule: str
    severity: Severity
    step: int
    """The last step that was seen."""
    message: str
    """What was seen, a sentence."""
    fix: str
    """What to change."""
    evidence: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    """Why it matters."""
    change: dict[str, Any] = field(default_factory=dict)
    """The same for a program: parameter, from, to."""
    seconds: float = 0.0
    """At most so many of the seconds that were seen would not have been needed (modelled, not measured)."""
    confidence: Confidence = "high"
    subject: str = ""

    @property
    def note(self) -> str:
        """For a terminal."""
        return f"{self.rule}, step {self.step:,}: {self.message} Do: {self.fix}."

    def to_dict(self) -> dict[str, Any]:
        """A line of ``findings.jsonl``."""
        values = {key: _plain(value) for key, value in vars(self).items() if value not in ("", {})}
        gain = {"metric": "seconds", "value": values.pop("seconds", 0.0), "how": "modelled"}
        return {"id": f"profiler-{self.rule}", "source": "profiler", **values, "expected_gain": gain}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProfileFinding:
        """From :meth:`to_dict`."""
        own = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**own | {"seconds": values.get("expected_gain", {}).get("value", 0.0)})


def _plain(value: Any) -> Any:
    return plain(value, lambda number: float(f"{number:.5g}"))


def plain(value: Any, of_float: Callable[[float], float] = float) -> Any:
    """Numbers of numpy as Python's own, within lists and objects, too."""
    if isinstance(value, dict):
        return {str(key): plain(part, of_float) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, of_float) for part in value]
    if isinstance(value, float):
        return of_float(value)
    return value.item() if hasattr(value, "item") else value
