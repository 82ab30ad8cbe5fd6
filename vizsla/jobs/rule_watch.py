"""The debugger's rules over one job, while it runs and at its end; what they find is in ``output/findings.jsonl``."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vizsla.errors import UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.growing import read_metrics_after, size
from vizsla.jobs.profile_watch import ProfileWatch
from vizsla.jobs.profiled import config_of, rule_parameters
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import now

if TYPE_CHECKING:  # rules need numpy and pyarrow: only where something was recorded
    from vizsla.debugging.configuration import Action, RulesOfJob
    from vizsla.debugging.finding import RuleFinding
    from vizsla.debugging.store import Row

_SECONDS = 2.0
_SHARE = 20.0
"""Times what the last look took until the next: the watching takes at most a twentieth of a core."""
_HOPELESS = ("exploding_tensor",)
"""Rules that stop a trial of a search, where nobody says otherwise: nothing of it can get better."""
_VALIDATION = re.compile(r"val|test|eval|dev", re.IGNORECASE)


class MetricLosses:
    """Losses by the metrics of a script that uses no hook, as rows."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._step = path, 0, -1
        self._counts: Counter[str] = Counter()

    def new_rows(self) -> list[Row]:
        """What came since the last call. A step is one value of a loss."""
        from vizsla.debugging.store import Row

        metrics, self._at = read_metrics_after(self._path, self._at)
        rows = []
        for metric in metrics:
            if "loss" not in metric.name.lower():
                continue
            self._step += 1
            mode = "EVAL" if _VALIDATION.search(metric.name) else "TRAIN"
            at, v = self._counts[mode], metric.value
            self._counts[mode] += 1
            numbers = (v, v, v, 0.0, abs(v), abs(v), float(v == 0))
            where = (self._step, mode, at, "worker_0", metric.name, "losses", metric.time, 1)
            rows.append(Row(*where, *numbers, "", True, False))
        return rows


class RuleWatch:
    """Looks every two seconds, and acts.

    Parameters
    ----------
    stop:
        Ends the job, with a reason.
    """

    def __init__(
        self, job: JobDirectory, spec: TrainingJobSpec | None, stop: Callable[[str], None] = lambda reason: None
    ) -> None:
        self._job, self._spec, self._stop = job, spec, stop
        self._folder = job.output / "debug"
        self._evaluation: Any = None
        self._rules: RulesOfJob | None = None
        self._due = 0.0
        self._is_from_metrics = False
        self._profile = ProfileWatch(job, self.note)

    @classmethod
    def of(cls, job: JobDirectory) -> RuleWatch:
        """Over a job that nobody controls any more."""
        from vizsla.jobs.kinds import kind_of

        try:
            kind = kind_of(job.kind)
            spec = kind.spec(job.document)
        except VizslaError:  # of another version
            return cls(job, None)
        return cls(job, spec if kind.is_process(spec) else None)

    @property
    def _is_own(self) -> bool:
        """Vizsla's own training asks its rules itself."""
        return self._spec is None or self._spec.algorithm_specification.is_builtin

    def look(self, *, over: bool = False) -> None:
        """Ask the rules, if it is time to. Nothing that goes wrong here is the job's failure."""
        if not over:  # at its end, the report has them
            self._profile.look()
        if self._is_own or (not over and time.monotonic() < self._due):
            return
        began, self._due = time.monotonic(), float("inf")  # an action may come back here
        try:
            self._look(over)
        except Exception as error:  # noqa: BLE001
            self.note(f"the rules could not be asked: {type(error).__name__}: {error}")
        self._due = time.monotonic() + max(_SECONDS, _SHARE * (time.monotonic() - began))

    def _look(self, over: bool) -> None:
        from vizsla.jobs.findings import append_findings, read_rule_findings

        has_store = (self._folder / "statistics").is_dir()
        if (self._evaluation is None or (has_store and self._is_from_metrics)) and not self._open(has_store):
            return
        found = self._evaluation.look(over=over)
        if not over:
            found += self._stalled()
        known = {_key(finding) for finding in read_rule_findings(self._job.output)} if found else set()
        found = [finding for finding in found if _key(finding) not in known]  # an earlier controller told them
        append_findings(self._job.output, found)
        for name, why in self._evaluation.newly_broken().items():
            self.note(f"the rule {name} is off: {why}")
        assert self._rules is not None
        for finding in found:
            for action in self._rules.actions_of(finding):
                self._act(action, finding, over)

    def _open(self, has_store: bool) -> bool:
        from vizsla.debugging.evaluation import Evaluation

        self._is_from_metrics = not has_store and size(self._job.metrics) > 0
        if not has_store and not self._is_from_metrics:
            return False
        assert self._spec is not None
        self._rules = rules = rules_of(self._spec, is_trial=self._job.parent is not None)
        custom, broken = rules.custom(self._folder) if has_store else ([], {})
        self._evaluation = Evaluation(
            self._folder,
            rules.rules,
            compat="aws" if rules.is_aws else "vizsla",
            custom=custom,
            broken=broken,
            reader=MetricLosses(self._job.metrics) if self._is_from_metrics else None,
        )
        return True

    def _stalled(self) -> list[Any]:
        from vizsla.debugging.rules.stalled_training import StalledTraining

        rules = [r for r in self._evaluation.rules if isinstance(r, StalledTraining)]
        if self._is_from_metrics:
            return []
        found = [f for r in rules for f in r.look_at(self._evaluation.history) if f is not None]
        return list(self._evaluation.add(found))

    def _act(self, action: Action, finding: RuleFinding, over: bool) -> None:
        from vizsla.debugging.actions import act

        act(action, finding, self._job.name, self._folder, stop=self._stop, note=self.note, has_ended=over)

    def note(self, text: str) -> None:
        """Keep what was done, or was not, in ``output/debug-actions.log``."""
        with open(self._job.output / "debug-actions.log", "a", encoding="utf-8") as file:
            file.write(f"{now()} {text}\n")


def _key(finding: RuleFinding) -> tuple[str, str, str, int]:
    return finding.rule, finding.configuration, finding.subject, finding.step


def rules_of(spec: TrainingJobSpec, *, is_trial: bool = False) -> RulesOfJob:
    """What a job's document asks for; of a trial of a search, also what ends a hopeless one.

    Raises
    ------
    UsageError
        For a rule, parameter or action that there is not.
    """
    from vizsla.debugging.configuration import Action, RulesOfJob

    result = RulesOfJob.of([c.to_dict() for c in spec.debug_rule_configurations or []])
    if is_trial:
        result.act_on(_HOPELESS, Action("stop"))
    return result


def check_rules(spec: TrainingJobSpec) -> None:
    """That what a document asks for can be asked: before there is a job.

    Raises
    ------
    UsageError
        For a rule, parameter, action or collection that cannot be meant, or a file of rules that is not there.
    """
    config_of(spec)
    if spec.profiler_rule_configurations:
        from vizsla.profiling.rules import rules_with

        rules_with(rule_parameters(spec.to_dict()))
    for own in rules_of(spec).own if spec.debug_rule_configurations else ():
        if not Path(own.file.removeprefix("file://")).is_file():
            raise UsageError(
                f"There is no file {own.file!r} with rules.", where=f"DebugRuleConfigurations, {own.configuration}"
            )
    if spec.debug_hook_config is not None:
        from vizsla.debugging.hook_config import HookConfig

        HookConfig.of(spec.debug_hook_config.to_dict())


def rule_job_summary(job: JobDirectory, spec: TrainingJobSpec) -> list[dict[str, Any]]:
    """What each rule says of a job, in the shape of SageMaker's ``DebugRuleEvaluationStatuses``."""
    from vizsla.debugging.configuration import RuleScope
    from vizsla.jobs.findings import read_rule_findings

    rules, state = rules_of(spec), job.state
    findings = read_rule_findings(job.output)
    of_all = {asked.rule for asked in rules.configurations if asked.is_of_all}
    plain = [rule.name for rule in rules.rules if not rule.configuration and rule.name not in of_all]
    asked = [(name, RuleScope(name, name, True)) for name in plain] + [(a.name, a) for a in rules.configurations]
    ignored = {rule.configuration: f"without effect here: {', '.join(rule.ignored)}" for rule in rules.rules}
    result = []
    for called, configuration in asked:
        said = [f"step {f.step}: {f.message}" for f in findings if configuration.is_about(f)]
        status = "IssuesFound" if said else "NoIssuesFound" if state.has_ended else "InProgress"
        remark = [ignored[called]] if any(r.configuration == called and r.ignored for r in rules.rules) else []
        result.append(
            {
                "RuleConfigurationName": called,
                "RuleEvaluationJobArn": f"local:{job.name}/{called}",
                "RuleEvaluationStatus": status,
                "StatusDetails": "\n".join(said + remark) or None,
                "LastModifiedTime": state.updated,
            }
        )
    for called, why in rules.not_applicable.items():
        result.append(
            {
                "RuleConfigurationName": called,
                "RuleEvaluationJobArn": f"local:{job.name}/{called}",
                "RuleEvaluationStatus": "Stopped",
                "StatusDetails": why,
                "LastModifiedTime": state.updated,
            }
        )
    return result
