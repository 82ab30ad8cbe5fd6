"""Rules as a job's document asks for them: ``DebugRuleConfigurations``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.debugging.custom import custom_rule
from vizsla.debugging.rules import NOT_FOR_IMAGES, canonical, default_rules, rule_class
from vizsla.debugging.rules.base import BuiltIn, Rule
from vizsla.debugging.trial import Trial
from vizsla.errors import UsageError

_INVOKE, _ACTIONS, _SOURCE, _COMPAT = "rule_to_invoke", "action_json", "source_s3_uri", "compat"
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


@dataclass
class RulesOfJob:
    """What is asked about a job, and what follows."""

    rules: list[BuiltIn]
    actions: dict[str, tuple[Action, ...]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Of a rule, what its configuration is called."""
    own: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """File, class and parameters of rules that the user wrote."""
    not_applicable: dict[str, str] = field(default_factory=dict)
    is_aws: bool = False

    def custom(self, folder: Path) -> list[Rule]:
        """The user's rules over the store at ``folder``."""
        return [custom_rule(file, name, Trial(folder), values) for file, name, values in self.own]

    def actions_of(self, rule: str, severity: str) -> tuple[Action, ...]:
        """What follows a finding."""
        return self.actions.get(rule, ()) + (self.actions.get(ANY, ()) if severity == "error" else ())

    @classmethod
    def of(cls, configurations: Sequence[Mapping[str, Any]]) -> RulesOfJob:
        """From ``DebugRuleConfigurations``, beside the rules that look without being asked to.

        A configuration is ``{"RuleConfigurationName": ..., "RuleParameters": {"rule_to_invoke": "VanishingGradient",
        "threshold": "1e-6", "action_json": "[{\\"name\\": \\"stoptraining\\"}]"}}``; ``"compat": "aws"`` asks AWS's
        documented conditions, of all of them.

        Raises
        ------
        UsageError
            For a rule, parameter or action that there is not.
        """
        chosen = {rule.name: rule for rule in default_rules()}
        result = cls([])
        for entry in configurations:
            called = str(entry.get("RuleConfigurationName", ""))
            values = dict(entry.get("RuleParameters") or {})
            name = str(values.pop(_INVOKE, called))
            actions = _actions(values.pop(_ACTIONS, None), called)
            result.is_aws |= str(values.pop(_COMPAT, "")) == "aws"
            if source := values.pop(_SOURCE, None):
                result.own.append((str(source), name, values))
                rule = name
            elif canonical(name) in NOT_FOR_IMAGES:
                result.not_applicable[called] = "not applicable: it looks at text or at trees"
                continue
            elif name.lower() == ANY:
                rule = ANY
            else:
                kind = rule_class(name)
                if values or kind.name not in result.names:  # an action alone leaves the parameters as they are
                    chosen[kind.name] = kind.of(values, where=f"DebugRuleConfigurations, {called}")
                made = chosen[kind.name]
                if getattr(made, "stop_training_on_fire", False):
                    actions += (Action("stop"),)
                rule = kind.name
            result.names[rule] = called
            result.actions[rule] = result.actions.get(rule, ()) + actions
        result.rules = list(chosen.values())
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
                "RuleParameters": {_INVOKE: rule, _ACTIONS: json.dumps([entry])},
            }
        )
    return result
