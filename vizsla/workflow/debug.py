"""The rules over a job that has ended, or runs: what ``vizsla debug`` does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.debugging.custom import custom_rule
from vizsla.debugging.evaluation import Compat, Evaluation
from vizsla.debugging.finding import RuleFinding
from vizsla.debugging.rules import default_rules, rule_class
from vizsla.debugging.rules.base import BuiltIn
from vizsla.debugging.rules.stalled_training import StalledTraining
from vizsla.debugging.store import STATISTICS, folder_of
from vizsla.debugging.trial import Trial
from vizsla.errors import JobError, UsageError, VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.findings import replace_findings
from vizsla.jobs.kinds import kind_of
from vizsla.jobs.rule_watch import MetricLosses, rules_of
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.reports.debug import PAGE, write_page
from vizsla.reports.render import fragment_of
from vizsla.workflow.debugger import NOT_HERE


def _reader(job: JobDirectory, folder: Path) -> MetricLosses | None:
    """Metrics, where a script used no hook."""
    return None if (folder / STATISTICS).is_dir() else MetricLosses(job.metrics)


def _process_of(job: JobDirectory) -> TrainingJobSpec | None:
    """What the job's document says of the process that trains, where there is one and it can be read."""
    try:
        kind = kind_of(job.kind)
        spec = kind.spec(job.document)
        return spec if kind.is_process(spec) else None
    except VizslaError:  # of another version
        return None


@dataclass(frozen=True)
class DebugResult:
    """What the rules say of a job."""

    job: Path
    steps: int
    findings: tuple[RuleFinding, ...]
    rules: tuple[str, ...]
    broken: dict[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The page with its charts."""
        return self.job / "output" / PAGE

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla debug --json`` prints."""
        return {
            "job": str(self.job),
            "steps": self.steps,
            "rules": list(self.rules),
            "broken_rules": self.broken,
            "remarks": list(self.remarks),
            "report": str(self.report),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __repr__(self) -> str:
        return f"DebugResult({self.job.name!r}, {len(self.findings)} findings of {len(self.rules)} rules)"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def has(self, severity: str) -> bool:
        """Whether anything as grave as that was found, or graver."""
        grave = ("error",) if severity == "error" else ("error", "warning")
        return any(finding.severity in grave for finding in self.findings)


def read_rules(
    names: Sequence[str], parameters: Mapping[str, Mapping[str, Any]], without: Collection[str] = ()
) -> list[BuiltIn]:
    """Rules by their names, by default all that look without being asked to, but those of ``without``; with parameters
    of theirs.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not, with those near to it.
    """
    chosen = {kind.name: kind for kind in map(rule_class, names)} or {
        rule.name: type(rule) for rule in default_rules() if rule.name not in without
    }
    given = {rule_class(name).name: values for name, values in parameters.items()}
    chosen |= {name: rule_class(name) for name in given}
    return [kind.of(given.get(name, {})) for name, kind in chosen.items()]


def split_parameters(texts: Sequence[str]) -> dict[str, dict[str, str]]:
    """``RULE.PARAMETER=VALUE`` to values by rule.

    Raises
    ------
    UsageError
        For another form.
    """
    result: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        rule, dot, parameter = name.partition(".")
        if not equals or not dot:
            raise UsageError(
                f"{text!r:.80} sets no parameter of a rule.",
                parameter="set",
                allowed="RULE.PARAMETER=VALUE, such as vanishing_gradient.threshold=1e-6",
            )
        result.setdefault(rule, {})[parameter] = value
    return result


def debug_job(
    job: JobDirectory,
    rules: Sequence[str] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    compat: Compat = "vizsla",
) -> DebugResult:
    """Ask the rules, and keep what they say in the job's ``output/findings.jsonl``.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not.
    JobError
        When nothing was recorded.
    """
    folder = folder_of(job.path)
    files = [rule for rule in rules if ".py:" in rule]
    named = [rule for rule in rules if rule not in files]
    process, asked = _process_of(job), None
    without = NOT_HERE if process is not None and process.algorithm_specification.is_builtin else ()
    chosen = read_rules(named, parameters or {}, without) if named or not files else []
    if process is not None and process.debug_rule_configurations and not rules and not parameters:
        asked = rules_of(process)
    if asked is not None:
        chosen, compat = asked.rules, "aws" if asked.is_aws else compat
    custom, off = ([], {}) if asked is None else asked.custom(folder)
    custom += [custom_rule(rule.rpartition(":")[0], rule.rpartition(":")[2], Trial(folder)) for rule in files]
    evaluation = Evaluation(folder, chosen, compat=compat, custom=custom, broken=off, reader=_reader(job, folder))
    evaluation.look(over=True if job.state.has_ended else None)  # of one that runs, the last step may be half there
    if not evaluation.history.steps_seen:
        raise JobError(
            f"Job {job.name!r} has recorded nothing that rules could look at.",
            where=folder,
            do="add to the script: from vizsla.debugging import get_hook; hook = get_hook(create_if_not_exists=True); "
            "if hook: hook.register_module(model)",
        )
    replace_findings(job.output, evaluation.sorted_findings, set(evaluation.names) - {StalledTraining.name})
    write_page(job, evaluation)
    return DebugResult(
        job.path,
        evaluation.history.steps_seen,
        tuple(evaluation.sorted_findings),
        tuple(evaluation.names),
        evaluation.broken,
        tuple(evaluation.remarks),
    )
