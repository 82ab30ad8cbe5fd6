"""What can be wrong with a data set: one small file a family, one entry a kind of finding."""

from __future__ import annotations

from collections.abc import Sequence

from vizsla.data.checks import classes, copies, looks, reading, shapes
from vizsla.data.checks.facts import Facts
from vizsla.findings import SEVERITIES, Finding

CHECKS = (*reading.CHECKS, *copies.CHECKS, *classes.CHECKS, *shapes.CHECKS, *looks.CHECKS)
"""Every check; each is a function of the facts that gives a finding or None."""


def run(facts: Facts, of_listing: Sequence[Finding] = ()) -> list[Finding]:
    """All findings, with those of the listing, the gravest first."""
    findings = [*of_listing, *(finding for check in CHECKS if (finding := check(facts)) is not None)]
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


__all__ = ["CHECKS", "Facts", "Finding", "run"]
