"""Rules as a job's document asks for them: ``DebugRuleConfigurations``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.debugging.custom import custom_rule
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.rules import NOT_FOR_IMAGES, canonical, default_rules, rule_class
from vizsla.debugging.rules.base import BuiltIn, Rule
from vizsla.debugging.trial import Trial
from vizsla.errors import UsageError

_INVOKE, _ACTIONS, _SOURCE, _COMPAT = "rule_to_invoke", "action_json", "source_s3_uri", "compat"
_OF_ALL = "of_all_configurations"
ANY = "any"
"""Stands for every rule, in an action: those of the severity error."""
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "stop": (),
    "lower_learning_rate": ("factor",),
    "roll_back": (),
    "webhook": ("url",),
    "command": ("command",),
    "email": ("endpoint",),
    "sms": ("endpoint",),
}
"""What may follow a finding, and what each is given."""
_AWS_ACTIONS = {"stoptraining": "stop", "stop_training": "stop"}


@dataclass(frozen=True)
class Action:
    """One of :data:`ACTIONS`.

    Examples
    --------
    >>> Action.parse("lower_learning_rate:0.1")
    Action(name='lower_learning_rate', value='0.1')
    """

    name: str
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> Action:
        """From ``NAME`` or ``NAME:VALUE``.

        Raises
        ------
        UsageError
            For an unknown one, or one without what it needs.
        """
        name, _, value = text.partition(":")
        return cls.of(name, value)

    @classmethod
    def of(cls, name: str, value: str = "") -> Action:
        """The action of this name."""
        found = _AWS_ACTIONS.get(name.lower().replace("-", "_"), name.lower().replace("-", "_"))
        if found not in ACTIONS:
            raise UsageError(f"There is no action {name!r:.80}.", where="action", allowed=", ".join(ACTIONS))
        if found in ("webhook", "command") and not value:
            raise UsageError(
                f"The action {found} says not {'where to' if found == 'webhook' else 'what to run'}.",
                where="action",
                allowed=f"{found}:{ACTIONS[found][0].upper()}",
            )
        if found == "lower_learning_rate":
            value = value or "0.1"
            try:
                fits = 0 < float(value) < 1
            except ValueError:
                fits = False
            if not fits:
                raise UsageError(
                    f"{value!r:.40} cannot lower a learning rate.", where="action", allowed="a factor between 0 and 1"
                )
        return cls(found, value)

    @classmethod
    def of_document(cls, entry: Mapping[str, Any]) -> Action:
        """From an entry of AWS's ``action_json``."""
        name = str(entry.get("name", ""))
        found = _AWS_ACTIONS.get(name.lower(), name)
        keys = ACTIONS.get(found, ())
        return cls.of(found, str(next((entry[key] for key in keys if entry.get(key)), "")))


@dataclass(frozen=True)
class OwnRule:
    """A rule that the user wrote."""

    configuration: str
    file: str
    name: str
    parameters: dict[str, str]


@dataclass(frozen=True)
class RuleScope:
    """A configuration: of one rule, of whatever speaks of ``rule`` (where it ``is_of_all``), or of :data:`ANY`."""

    name: str
    rule: str
    is_of_all: bool = False

    def is_about(self, finding: RuleFinding) -> bool:
        """Whether a finding is one of this configuration."""
        if self.rule == ANY:
            return finding.severity == "error"
        return finding.rule == self.rule if self.is_of_all else finding.configuration == self.name


@dataclass
class RulesOfJob:
    """What is asked about a job, and what follows. Each configuration asks a rule of its own; of the rules that no
    configuration asks, those that look without being asked to are there as they are."""

    rules: list[BuiltIn]
    configurations: list[RuleScope] = field(default_factory=list)
    actions: list[tuple[RuleScope, tuple[Action, ...]]] = field(default_factory=list)
    own: list[OwnRule] = field(default_factory=list)
    not_applicable: dict[str, str] = field(default_factory=dict)
    is_aws: bool = False

    def custom(self, folder: Path) -> tuple[list[Rule], dict[str, str]]:
        """The user's rules over the store at ``folder``; and of those that cannot be made, why."""
        made, broken = list[Rule](), dict[str, str]()
        for own in self.own:
            try:
                rule = custom_rule(own.file, own.name, Trial(folder), own.parameters)
            except UsageError as error:  # the others look all the same
                broken[own.configuration] = str(error)
                continue
            rule.configuration = own.configuration
            made.append(rule)
        return made, broken

    def actions_of(self, finding: RuleFinding) -> list[Action]:
        """What follows a finding."""
        return [action for asked, actions in self.actions if asked.is_about(finding) for action in actions]

    def act_on(self, rules: Iterable[str], action: Action) -> None:
        """Let an action follow what a rule finds, where nobody has said what does."""
        told = {asked.rule for asked, actions in self.actions if actions}
        self.actions += [(RuleScope("", rule, True), (action,)) for rule in rules if rule not in told]

    @classmethod
    def of(cls, configurations: Sequence[Mapping[str, Any]]) -> RulesOfJob:
        """From ``DebugRuleConfigurations``, beside the rules that look without being asked to.

        A configuration is ``{"RuleConfigurationName": ..., "RuleParameters": {"rule_to_invoke": "VanishingGradient",
        "threshold": "1e-6", "action_json": "[{\\"name\\": \\"stoptraining\\"}]"}}``; ``"compat": "aws"`` asks AWS's
        documented conditions, of all of them.

        Raises
        ------
        UsageError
            For a rule, parameter or action that there is not, a file of rules that is not there, or two configurations
            of one name.
        """
        result = cls([])
        for entry in configurations:
            values = dict(entry.get("RuleParameters") or {})
            called = str(entry.get("RuleConfigurationName") or values.get(_INVOKE, ""))
            where = f"DebugRuleConfigurations, {called}"
            name = str(values.pop(_INVOKE, called))
            actions = _actions(values.pop(_ACTIONS, None), called)
            is_of_all = str(values.pop(_OF_ALL, "")) == "true"
            result.is_aws |= str(values.pop(_COMPAT, "")) == "aws"
            if source := values.pop(_SOURCE, None):
                result.own.append(OwnRule(called, str(source), name, values))
                asked = RuleScope(called, name)
            elif canonical(name) in NOT_FOR_IMAGES:
                result.not_applicable[called] = "not applicable: it looks at text or at trees"
                continue
            elif name.lower() == ANY or is_of_all:
                asked = RuleScope(called, ANY if name.lower() == ANY else rule_class(name).name, True)
            else:
                made = rule_class(name).of(values, where=where)
                made.configuration = called
                result.rules.append(made)
                asked = RuleScope(called, made.name)
                if getattr(made, "stop_training_on_fire", False):
                    actions += (Action("stop"),)
            result.configurations.append(asked)
            result.actions.append((asked, actions))
        names = Counter(asked.name for asked in result.configurations if not asked.is_of_all)
        if twice := [name for name, count in names.items() if count > 1]:
            raise UsageError(
                f"Two configurations are called {twice[0]!r:.80}.",
                where="DebugRuleConfigurations",
                allowed="a RuleConfigurationName of its own for each",
            )
        named = {rule.name for rule in result.rules}
        result.rules = [rule for rule in default_rules() if rule.name not in named] + result.rules
        return result


def _actions(text: Any, called: str) -> tuple[Action, ...]:
    if not text:
        return ()
    try:
        entries = json.loads(text) if isinstance(text, str) else text
        entries = [entries] if isinstance(entries, Mapping) else list(entries)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"The actions are no JSON: {text!r:.80}.", where=f"DebugRuleConfigurations, {called}, {_ACTIONS}"
        ) from error
    return tuple(Action.of_document(entry) for entry in entries)


def action_configurations(texts: Sequence[str]) -> list[dict[str, Any]]:
    """``RULE=ACTION[:VALUE]`` as ``DebugRuleConfigurations``; RULE may be ``any``.

    Raises
    ------
    UsageError
        For what cannot be meant.

    Examples
    --------
    >>> action_configurations(["exploding_tensor=stop"])[0]["RuleParameters"]["rule_to_invoke"]
    'exploding_tensor'
    """
    result = []
    for text in texts:
        rule, equals, action = text.partition("=")
        if not equals:
            raise UsageError(
                f"{text!r:.80} says not which action follows which rule.",
                where="action",
                allowed="RULE=ACTION, such as exploding_tensor=stop or any=webhook:http://host/path",
            )
        if rule != ANY:
            rule = rule_class(rule).name
        parsed = Action.parse(action)
        entry = {"name": parsed.name, **dict.fromkeys(ACTIONS[parsed.name], parsed.value)}
        result.append(
            {
                "RuleConfigurationName": f"{rule}-{parsed.name}",
                "RuleParameters": {_INVOKE: rule, _ACTIONS: json.dumps([entry]), _OF_ALL: "true"},
            }
        )
    return result
