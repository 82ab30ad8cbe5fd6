"""A finding: what was seen, how grave it is, in which files, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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
