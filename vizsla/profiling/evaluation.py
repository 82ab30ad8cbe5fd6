"""All rules over one profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vizsla.findings import plain
from vizsla.profiling.finding import ProfileFinding
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.rules import rules_with
from vizsla.profiling.rules.base import ProfileRule, Verdict, View

_GRAVE = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class RuleResult:
    """What a rule said of a profile."""

    rule: ProfileRule
    verdict: Verdict
    broken: str | None = None
    """Why the rule itself failed, if it did."""

    def to_dict(self) -> dict[str, Any]:
        """SageMaker's JSON of a rule: ``profiler-reports/NAME.json``."""
        v = self.verdict
        return {
            "RuleTriggered": v.triggered,
            "Violations": v.violations,
            "Details": plain(v.details),
            "Datapoints": v.datapoints,
            "RuleParameters": self.rule.parameters(),
        }


def evaluate(profile: JobProfile, parameters: Mapping[str, Mapping[str, Any]] | None = None) -> list[RuleResult]:
    """Ask all rules, with parameters of some by name.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not.
    """
    view = View(profile)
    results = []
    for rule in rules_with(parameters or {}):
        try:
            results.append(RuleResult(rule, rule.judge(view)))
        except Exception as error:  # noqa: BLE001 - one rule's fault is not the others'
            results.append(RuleResult(rule, Verdict(), f"{type(error).__name__}: {error}"))
    return results


def findings_of(results: Sequence[RuleResult]) -> list[ProfileFinding]:
    """What was found: the gravest first, then what would save the most time."""
    found = [result.verdict.finding for result in results if result.verdict.finding is not None]
    return sorted(found, key=lambda f: (_GRAVE[f.severity], -f.seconds))
