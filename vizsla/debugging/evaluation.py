"""Rules over a store: at once, or bit by bit while it grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from vizsla.debugging.exceptions import StepUnavailable, TensorUnavailable, TensorUnavailableForStep
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History, grouped
from vizsla.debugging.rules import default_rules
from vizsla.debugging.rules.base import BuiltIn, Rule
from vizsla.debugging.store import END, Reader, Row, is_being_written, read_index
from vizsla.findings import SEVERITIES

Compat = Literal["vizsla", "aws"]
_MOST_OF_A_RULE = 20


class RowSource(Protocol):
    """Gives each row once."""

    def new_rows(self) -> list[Row]:
        """What came since the last call."""
        ...


class Evaluation:
    """Looks at each step once, with every rule.

    Parameters
    ----------
    rules:
        By default all that look without being asked to.
    compat:
        ``aws`` asks AWS's documented conditions to the letter.
    custom:
        A user's own rules.
    broken:
        Those of them that could not be made, and why.
    reader:
        Where rows come from, when not from the store.
    """

    def __init__(
        self,
        folder: Path,
        rules: Sequence[BuiltIn] | None = None,
        *,
        compat: Compat = "vizsla",
        custom: Sequence[Rule] = (),
        broken: Mapping[str, str] | None = None,
        reader: RowSource | None = None,
    ) -> None:
        self.folder, self.compat = folder, compat
        chosen = default_rules() if rules is None else list(rules)
        self.rules = [rule for rule in chosen if compat != "aws" or rule.aws is not None]
        self.custom = list(custom)
        self.history = History()
        self.findings: list[RuleFinding] = []
        self.broken: dict[str, str] = dict(broken or {})
        """Rules that failed themselves, and how: they are not asked again."""
        self._told_broken: set[str] = set()
        self._reader = reader or Reader(folder)
        self._waiting: list[Row] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._over = False

    def look(self, *, over: bool | None = None) -> list[RuleFinding]:
        """Read what is new and ask the rules; what they found that they had not said before.

        ``over`` says that nothing more will come; by default the store tells. The last step is held back until then,
        as more of it may come.
        """
        if self._over:
            return []
        if over is None:
            over = isinstance(self._reader, Reader) and (
                (self.folder / END).exists() or not is_being_written(self.folder)
            )
        rows = self._reader.new_rows()
        if rows or over:
            self.history.facts = read_index(self.folder)
        steps = grouped([*self._waiting, *rows])
        self._waiting = [] if over or not steps else steps.pop()[1]
        found: list[RuleFinding] = []
        for step, own in steps:
            self.history.add(step, own)
            found += self._ask(step)
        if over and self.history.step >= 0:
            self.history.end()
            for rule in self.rules:
                found += self._answers(rule, "conclude")
        self._over = over
        return found

    def skip(self) -> None:
        """Pass over what is there: it is of a training before."""
        self._reader.new_rows()

    def _ask(self, step: int) -> list[RuleFinding]:
        found: list[RuleFinding] = []
        for rule in self.rules:
            found += self._answers(rule, "look_aws" if self.compat == "aws" or rule.asks_aws else "look")
        for own in self.custom:
            if _label(own) in self.broken:
                continue
            try:
                answer = own.invoke(step)
            except (TensorUnavailable, TensorUnavailableForStep, StepUnavailable):
                continue  # what it asks for is not recorded in every step
            except Exception as error:  # noqa: BLE001 - a user's code
                self.broken[_label(own)] = f"{type(error).__name__}: {error}"
                continue
            if answer is True:
                words = f"The condition of {own.rule_name} is met."
                answer = RuleFinding(own.rule_name, own.severity, step, words, own.fix, mode=self.history.mode)
            if isinstance(answer, RuleFinding):
                found += self.add([replace(answer, configuration=own.configuration)])
        return found

    def _answers(self, rule: BuiltIn, method: str) -> list[RuleFinding]:
        if _label(rule) in self.broken:
            return []
        try:
            return self.add([f for f in getattr(rule, method)(self.history) if f is not None])
        except Exception as error:  # noqa: BLE001 - one rule must not silence the others
            self.broken[_label(rule)] = f"{type(error).__name__}: {error}"
            return []

    def add(self, findings: Iterable[RuleFinding]) -> list[RuleFinding]:
        """Take findings; those that were not said before."""
        result = []
        for finding in findings:
            rule = finding.rule, finding.configuration
            key = (*rule, finding.subject)
            if key in self._seen or sum(seen[:2] == rule for seen in self._seen) >= _MOST_OF_A_RULE:
                continue
            self._seen.add(key)
            self.findings.append(finding)
            result.append(finding)
        return result

    def newly_broken(self) -> dict[str, str]:
        """Rules that were not told of by this before."""
        new = {name: why for name, why in self.broken.items() if name not in self._told_broken}
        self._told_broken |= new.keys()
        return new

    @property
    def remarks(self) -> list[str]:
        """Which parameters change nothing."""
        return [
            f"{_label(rule)}: {', '.join(rule.ignored)} would change nothing here: what AWS's rule finds by "
            "it is seen without"
            for rule in self.rules
            if rule.ignored
        ]

    @property
    def names(self) -> list[str]:
        """The names of all rules that were asked."""
        return [rule.name for rule in self.rules] + [own.rule_name for own in self.custom]

    @property
    def sorted_findings(self) -> list[RuleFinding]:
        """The gravest first, then by step."""
        return sorted(self.findings, key=lambda f: (SEVERITIES.index(f.severity), f.step))


def _label(rule: BuiltIn | Rule) -> str:
    return rule.configuration or (rule.rule_name if isinstance(rule, Rule) else rule.name)


def evaluate(
    folder: Path,
    rules: Sequence[BuiltIn] | None = None,
    *,
    compat: Compat = "vizsla",
    custom: Sequence[Rule] = (),
) -> Evaluation:
    """All rules over all that was recorded so far."""
    evaluation = Evaluation(folder, rules, compat=compat, custom=custom)
    evaluation.look(over=True)
    return evaluation
