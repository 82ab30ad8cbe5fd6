"""What a rule is: its life told in order, and its parameters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.history import History
from vizsla.debugging.store import Row
from vizsla.debugging.trial import Trial
from vizsla.errors import UsageError
from vizsla.findings import Confidence, Severity


class Rule:
    """A rule over a trial: a user's own subclass says in :meth:`invoke_at_step` whether its condition is met.

    The life of one, in order: it is made with the trial that it looks at (and others to compare with); for each
    recorded step :meth:`set_required_tensors` and then :meth:`invoke_at_step` are called. ``True`` is a finding; so is
    a :class:`~vizsla.debugging.finding.RuleFinding`, which says more. In ``report`` is what was counted.

    Examples
    --------
    >>> class TooHigh(Rule):
    ...     def invoke_at_step(self, step):
    ...         loss = self.base_trial.tensor("CrossEntropyLoss_output_0")
    ...         return step in loss.steps() and float(loss.value(step)) > 10
    """

    severity: ClassVar[Severity] = "warning"
    fix: ClassVar[str] = "see what the rule looks for"

    def __init__(
        self, base_trial: Trial, action_str: str | None = None, other_trials: Sequence[Trial] | None = None
    ) -> None:
        self.base_trial, self.other_trials, self.action_str = base_trial, list(other_trials or []), action_str
        self.rule_name = type(self).__name__
        self.configuration = ""
        self.req_tensors = RequiredTensors([base_trial, *self.other_trials])
        self.report: dict[str, Any] = {
            "RuleTriggered": 0,
            "Violations": 0,
            "Details": {},
            "Datapoints": 0,
            "RuleParameters": "",
        }

    def set_required_tensors(self, step: int) -> None:
        """Nothing; subclasses name tensors here, by ``self.req_tensors.add``."""

    def invoke_at_step(self, step: int) -> bool | RuleFinding:
        """Whether the condition is met at this step."""
        raise NotImplementedError

    def invoke(self, step: int) -> bool | RuleFinding:
        """Look at a step and count what was found."""
        self.report["Datapoints"] += 1
        self.req_tensors.begin(step)
        self.set_required_tensors(step)
        met = self.invoke_at_step(step) if self.req_tensors.are_there() else False
        self.report["Violations"] += bool(met)
        self.report["RuleTriggered"] += bool(met)
        return met


class RequiredTensors:
    """What a rule needs at a step; where a tensor was not recorded then, the rule is not asked."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials, self._step = list(trials), -1
        self._names: dict[int, set[str]] = {}

    def begin(self, step: int) -> None:
        """Forget what an earlier step needed."""
        self._step, self._names = step, {}

    def add(self, name: str, steps: Sequence[int] | None = None, trial: Trial | None = None) -> None:
        """Need a tensor."""
        self._names.setdefault(id(trial or self._trials[0]), set()).add(name)

    def need_tensor(self, *args: Any, **kwargs: Any) -> None:
        """The same."""
        self.add(*args, **kwargs)

    def get_names(self, trial: Trial | None = None) -> list[str]:
        """The names that are needed."""
        return sorted(self._names.get(id(trial or self._trials[0]), ()))

    def get(self, trial: Trial | None = None) -> list[Any]:
        """The tensors that are needed."""
        chosen = trial or self._trials[0]
        return [chosen.tensor(name) for name in self.get_names(chosen)]

    def are_there(self) -> bool:
        """Whether all were recorded at this step."""
        for trial in self._trials:
            for name in self.get_names(trial):
                if not trial.has_tensor(name) or self._step not in trial.tensor(name).steps():
                    return False
        return True


@dataclass
class BuiltIn:
    """One of the rules that come with Vizsla: a dataclass whose fields are the rule's parameters.

    The life of one, in order: :meth:`look` after each complete step, :meth:`conclude` when nothing more comes. Both
    give findings. With ``compat="aws"`` :meth:`look_aws` is asked instead: AWS's documented condition to the letter
    (sagemaker developer guide, debugger-built-in-rules).

    A rule lives in a module of its name in :mod:`vizsla.debugging.rules`, in a class ``RULE``.
    """

    name: ClassVar[str]
    aws: ClassVar[str | None] = None
    """AWS's name of it; None for what AWS has not."""
    severity: ClassVar[Severity] = "warning"
    fix: ClassVar[str]
    why: ClassVar[str]
    confidence: ClassVar[Confidence] = "high"
    automatic: ClassVar[bool] = True
    """Whether it looks without being asked to: some need a parameter that only a person knows."""
    only_aws: ClassVar[frozenset[str]] = frozenset()
    """Parameters that AWS's condition alone has a use for: a rule that is given one asks that condition."""
    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Parameters by which AWS's finds what is seen here without being asked for: they change nothing."""

    configuration: str = field(default="", init=False, repr=False, compare=False)
    """What the configuration of a job's document is called that asks this one."""
    asks_aws: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether :meth:`look_aws` is asked, whatever the others are."""
    ignored: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    """Of the parameters that were given those that change nothing."""

    def look(self, history: History) -> Iterable[RuleFinding | None]:
        """What is wrong by the step that was just completed."""
        return ()

    def look_aws(self, history: History) -> Iterable[RuleFinding | None]:
        """The same by AWS's condition."""
        return self.look(history)

    def conclude(self, history: History) -> Iterable[RuleFinding | None]:
        """What only the whole training shows."""
        return ()

    def found(
        self,
        history: History,
        message: str,
        *,
        subject: str = "",
        severity: Severity | None = None,
        confidence: Confidence | None = None,
        fix: str | None = None,
        step: int | None = None,
        **evidence: Any,
    ) -> RuleFinding:
        """A finding at the present step; ``evidence`` are the values, the threshold and their number."""
        return RuleFinding(
            self.name,
            severity or self.severity,
            history.step if step is None else step,
            message,
            fix or self.fix,
            evidence,
            self.why,
            confidence or self.confidence,
            subject,
            mode=history.mode,
            configuration=self.configuration,
        )

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        """The parameters and their defaults."""
        return {f.name: f.default for f in fields(cls) if f.init}

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str | None = None) -> BuiltIn:
        """The rule with these parameters; texts are read, as AWS sends all as text.

        Raises
        ------
        UsageError
            For a parameter that it has not, or a value that cannot be meant.
        """
        known = cls.parameters()
        kinds = {f.name: str(f.type) for f in fields(cls) if f.init}
        read = {}
        for name, value in values.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.5)
                raise UsageError(
                    f"The rule {cls.name} has no parameter {name!r:.80}"
                    + (f"; near it: {', '.join(near)}." if near else "."),
                    where=where or f"rule {cls.name}",
                    allowed=", ".join(known) or "none",
                )
            read[name] = _read(value, kinds[name], f"{cls.name}, {name}")
        made = cls(**read)
        made.asks_aws = not cls.only_aws.isdisjoint(read)
        made.ignored = tuple(sorted(cls.without_effect.intersection(read)))
        return made


def matches(expressions: str, name: str) -> bool:
    """Whether one of some regular expressions, parted by commas, matches the beginning of a name."""
    return any(re.match(part.strip(), name) for part in expressions.split(","))


def _read(value: Any, kind: str, where: str) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    if "None" in kind and text.lower() in ("", "none"):
        return None
    try:
        if kind.startswith("bool"):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind.startswith("int"):
            return int(float(text))
        if kind.startswith("float"):
            return float(text)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{value!r:.80} cannot be meant.", where=where, allowed=kind.split(" ")[0]) from error
    return text


@dataclass
class TensorRule(BuiltIn):
    """A rule over the tensors that its parameters choose."""

    collection_names: str | None = None
    tensor_regex: str | None = None

    def chosen(self, history: History, default: Sequence[str] = ()) -> list[Row]:
        """The rows of this step that ``collection_names`` (parted by commas) or ``tensor_regex`` choose; without
        either those of the ``default`` collections."""
        if self.tensor_regex is not None:
            rows = [row for steps in history.rows.values() for row in steps.get(history.step, ())]
            return [row for row in rows if matches(self.tensor_regex, row.name)]
        names = [part.strip() for part in (self.collection_names or "").split(",") if part.strip()] or list(default)
        return [row for name in names for row in history.at(name)]
