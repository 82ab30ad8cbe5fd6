"""A finding: what was seen, how grave it is, in which files, what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Gravest first: what makes the result wrong, what may make it worse, what is good to know."""

Confidence = Literal["high", "medium", "low"]
"""How sure a rule is of what it says."""


@dataclass(frozen=True)
class FindingFile:
    """One file of a finding; ``label`` and ``split`` are those of a picture. ``cluster`` numbers the files that belong
    together within the finding.

    ``row`` is its row in the data set, or None for what is in no class and no split.
    """

    row: int | None
    path: str
    label: str
    split: str
    detail: str
    cluster: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: value for name, value in vars(self).items() if name != "row" and value is not None}


@dataclass(frozen=True)
class Finding:
    """One kind of trouble and every file that has it.

    ``id`` is stable, for scripts; ``evidence`` says in a sentence what was seen; ``fix`` what to do about it; ``rule``
    names what saw it, where that can be chosen.

    Examples
    --------
    >>> Finding("loss-not-finite", "error", "Loss", "Step 12 gave NaN.", "lower the learning rate").note
    'Step 12 gave NaN. Do: lower the learning rate.'
    """

    id: str
    severity: Severity
    title: str
    evidence: str
    fix: str
    files: tuple[FindingFile, ...] = ()
    rule: str | None = None

    @property
    def note(self) -> str:
        """What was seen and what to do about it, for where no table of findings is shown."""
        return f"{self.evidence} Do: {self.fix}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: a line of ``findings.jsonl``."""
        values = {name: value for name, value in vars(self).items() if value is not None}
        return values | {"files": [file.to_dict() for file in self.files]}


@dataclass(frozen=True)
class StepFinding:
    """What a rule says of a training, at a step: the debugger's and the profiler's findings are made of it."""

    rule: str
    severity: Severity
    step: int
    """The last one that was seen, over all modes."""
    message: str
    """What was seen, a sentence."""
    fix: str
    """What to change."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The values, the threshold and their number."""
    why: str = ""
    """Why it matters."""
    confidence: Confidence = "high"
    subject: str = ""
    """The tensor, layer or process, where it is about one: a rule speaks once of each."""

    source: ClassVar[str]
    """Who asks the rule."""

    @property
    def note(self) -> str:
        """For a terminal."""
        return f"{self.rule}, step {self.step:,}: {self.message} Do: {self.fix}."

    def to_dict(self) -> dict[str, Any]:
        """A line of ``findings.jsonl``."""
        values = {key: plain(value, _rounded) for key, value in vars(self).items() if value != ""}
        return {"id": f"{self.source}-{self.rule}", "source": self.source, **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From :meth:`to_dict`."""
        return cls(**{name: values[name] for own in fields(cls) if (name := own.name) in values})


def plain(value: Any, of_float: Callable[[float], Any] = float) -> Any:
    """Numbers of numpy as Python's own, within lists and objects, too."""
    if isinstance(value, dict):
        return {str(key): plain(part, of_float) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part, of_float) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return of_float(value) if isinstance(value, float) else value


def _rounded(value: float) -> float | str:
    """To six digits; as a word what JSON has no number for."""
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
