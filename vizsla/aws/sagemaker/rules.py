"""What rules of the debugger and of the profiler say of a training, as DescribeTrainingJob tells it."""

from __future__ import annotations

import json
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.requests import moment, present
from vizsla.errors import VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.rule_watch import rule_job_summary
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State
from vizsla.profiling.layout import REPORTS, output_of

_LONGEST = 1024
_REPORT = "ProfilerReport"
_NO_PROFILE = "Nothing was recorded that this rule could judge."


def rule_statuses(ctx: Context, job: JobDirectory, spec: TrainingJobSpec) -> list[dict[str, Any]]:
    """``DebugRuleEvaluationStatuses``: one for each rule that was asked for, in that order."""
    asked = [rule.rule_configuration_name for rule in spec.debug_rule_configurations or []]
    if not asked:
        return []
    try:
        told = {row["RuleConfigurationName"]: row for row in rule_job_summary(job, spec)}
    except VizslaError:
        return []
    return [
        present(
            {
                "RuleConfigurationName": name,
                "RuleEvaluationJobArn": _arn(ctx, job.name, name),
                "RuleEvaluationStatus": told[name]["RuleEvaluationStatus"],
                "StatusDetails": (told[name]["StatusDetails"] or "")[:_LONGEST] or None,
                "LastModifiedTime": moment(told[name]["LastModifiedTime"]),
            }
        )
        for name in asked
        if name in told
    ]


def profiler_statuses(ctx: Context, request: dict[str, Any], job: JobDirectory, state: State) -> list[dict[str, Any]]:
    """``ProfilerRuleEvaluationStatuses``: what the profiler's report of a training that has ended says."""
    rows = []
    for rule in request.get("ProfilerRuleConfigurations") or []:
        called = rule["RuleConfigurationName"]
        name = str((rule.get("RuleParameters") or {}).get("rule_to_invoke") or called)
        status = "InProgress" if not state.has_ended else _judged(job, name)
        rows.append(
            present(
                {
                    "RuleConfigurationName": called,
                    "RuleEvaluationJobArn": _arn(ctx, job.name, called),
                    "RuleEvaluationStatus": status,
                    "StatusDetails": _NO_PROFILE if status == "Stopped" else None,
                    "LastModifiedTime": moment(state.updated),
                }
            )
        )
    return rows


def _judged(job: JobDirectory, name: str) -> str:
    """What a rule says, by the file that it left; the report's own rule speaks for all."""
    files = {file.stem.lower(): file for file in (output_of(job.path) / REPORTS).glob("*.json")}
    if name.startswith(_REPORT):
        triggered = [json.loads(file.read_bytes())["RuleTriggered"] for file in files.values()]
        return "IssuesFound" if any(triggered) else "NoIssuesFound"
    file = files.get(name.lower())
    if file is None:
        return "Stopped"
    return "IssuesFound" if json.loads(file.read_bytes())["RuleTriggered"] else "NoIssuesFound"


def _arn(ctx: Context, job: str, rule: str) -> str:
    return ctx.arn("processing-job", f"{job[:26]}-{rule[:26]}".lower().replace("_", "-"))
