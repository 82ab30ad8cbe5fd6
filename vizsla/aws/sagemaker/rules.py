"""What rules of the debugger and of the profiler say of a training, as DescribeTrainingJob tells it."""

from __future__ import annotations

from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.requests import moment, present
from vizsla.errors import VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.rule_watch import rule_job_summary
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.jobs.states import State

_LONGEST = 1024
_REPORT = "ProfilerReport"
_NO_PROFILER = "The profiler's rules are not evaluated on this machine."


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


def profiler_statuses(ctx: Context, request: dict[str, Any], job: str, state: State) -> list[dict[str, Any]]:
    """``ProfilerRuleEvaluationStatuses``."""
    rows = []
    for rule in request.get("ProfilerRuleConfigurations") or []:
        name = rule["RuleConfigurationName"]
        is_report = name.startswith(_REPORT)
        status = "InProgress" if not state.has_ended else "NoIssuesFound" if is_report else "Stopped"
        rows.append(
            present(
                {
                    "RuleConfigurationName": name,
                    "RuleEvaluationJobArn": _arn(ctx, job, name),
                    "RuleEvaluationStatus": status,
                    "StatusDetails": _NO_PROFILER if status == "Stopped" else None,
                    "LastModifiedTime": moment(state.updated),
                }
            )
        )
    return rows


def _arn(ctx: Context, job: str, rule: str) -> str:
    return ctx.arn("processing-job", f"{job[:26]}-{rule[:26]}".lower().replace("_", "-"))
