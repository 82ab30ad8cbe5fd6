"""A finding: what was seen, how grave it is, in which files, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Gravest first: what makes the result wrong, what may make it worse, what is good to know."""


@dataclass(frozen=True)
class FoundFile:
    """One picture of a finding. ``cluster`` numbers the pictures that belong together within the finding.

    ``row`` is its row in the data set, or None for a picture that is in no class and no split.
    """

    row: int | None
    path: str
    label: str
    split: str
    detail: str
    cluster: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        entry = {"path": self.path, "label": self.label, "split": self.split, "detail": self.detail}
        return entry if self.cluster is None else entry | {"cluster": self.cluster}


@dataclass(frozen=True)
class Finding:
    """One kind of trouble and every picture that has it.

    ``id`` is stable, for scripts; ``evidence`` says in a sentence what was seen; ``fix`` what to do about it.
    """

    id: str
    severity: Severity
    title: str
    evidence: str
    fix: str
    files: tuple[FoundFile, ...] = ()

    @property
    def note(self) -> str:
        """What was seen and what to do about it, for where no table of findings is shown."""
        return f"{self.evidence} Do: {self.fix}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: a line of ``findings.jsonl``."""
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "evidence": self.evidence,
            "fix": self.fix,
            "files": [file.to_dict() for file in self.files],
        }
