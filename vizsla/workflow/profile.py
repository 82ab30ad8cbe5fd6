"""The profile of a job that has ended, or runs: its rules, its report, the findings; what ``vizsla profile`` does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vizsla.errors import JobError, VizslaError
from vizsla.files import write_json
from vizsla.findings import plain
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.findings import append_findings, read_profile_findings, replace_findings
from vizsla.jobs.profiled import rule_parameters
from vizsla.profiling import timeline as timelines
from vizsla.profiling.compaction import compact_all
from vizsla.profiling.evaluation import RuleResult, evaluate, findings_of
from vizsla.profiling.finding import ProfileFinding
from vizsla.profiling.framework import write_trace
from vizsla.profiling.layout import REPORT, REPORTS, SUMMARY
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.rules import RULES
from vizsla.profiling.start import LEAST_REPORTED_SECONDS
from vizsla.reports.profile import write_page
from vizsla.reports.render import fragment_of


@dataclass(frozen=True)
class ProfileResult:
    """What the profiler says of a job."""

    profile: JobProfile
    rules: tuple[RuleResult, ...]

    @property
    def findings(self) -> list[ProfileFinding]:
        """The gravest first."""
        return findings_of(self.rules)

    @property
    def report(self) -> Path:
        """The page."""
        return self.profile.folder / REPORT

    @property
    def broken(self) -> dict[str, str]:
        """Rules that failed themselves, and why."""
        return {result.rule.title(): result.broken for result in self.rules if result.broken is not None}

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla profile --json`` prints, and that ``profiler-report.json`` holds."""
        profile = self.profile
        steps, loop, began = profile.train_steps, profile.loop, profile.span[0]
        first, last = (profile.span[0], profile.span[1]) if profile.segments is None else profile.segments.loop
        document = {
            "job": str(profile.job),
            "report": str(self.report),
            "summary": {
                "start": began,
                "end": profile.span[1],
                "seconds": round(profile.seconds, 3),
                "initialization_seconds": round(first - began, 3) if profile.segments is not None else None,
                "training_loop_seconds": round(last - first, 3) if profile.segments is not None else None,
                "finalization_seconds": round(profile.span[1] - last, 3) if profile.segments is not None else None,
            },
            "phases": {name: round(seconds, 3) for name, seconds in profile.phases.items()},
            "time": None
            if loop is None
            else {
                "train": round(loop.train, 3),
                "eval": round(loop.evaluation, 3),
                "other": round(loop.other, 3),
            },
            "steps": 0 if steps is None else len(steps),
            "images_per_second": profile.images_per_second,
            "sampler": profile.sampler,
            "system": self._details("OverallSystemUsage"),
            "rules": {r.rule.title(): r.to_dict() for r in self.rules},
            "broken_rules": self.broken,
            "advice": profile.advice.get("changes", []),
            "findings": [finding.to_dict() for finding in self.findings],
        }
        return cast(dict[str, Any], plain(document))

    def lines(self) -> list[str]:
        """What a terminal shows."""
        profile, whole = self.profile, max(self.profile.seconds, 1e-9)
        lines = [f"{'seconds':>9}  share  phase"]
        for name, seconds in profile.phases.items():
            if seconds / whole >= 0.001:
                lines.append(f"{seconds:9.1f}  {100 * seconds / whole:4.1f}%  {name}")
        if profile.images_per_second:
            assert profile.train_steps is not None
            lines.append(f"{len(profile.train_steps):,} steps, {profile.images_per_second:,.1f} images/s")
        for change in profile.advice.get("changes", []):
            lines.append(f"tried    {change['change']}: {change['words']}")
        for finding in self.findings:
            lines += [
                f"{finding.severity:<8} {finding.rule}",
                f"         {finding.message}",
                f"         do: {finding.fix}",
            ]
        if not self.findings:
            lines.append(f"{len(self.rules)} rules found nothing that would save time.")
        return [*lines, f"report   {self.report}"]

    def has(self, severity: str) -> bool:
        """Whether anything as grave as that was found, or graver."""
        grave = ("error",) if severity == "error" else ("error", "warning")
        return any(finding.severity in grave for finding in self.findings)

    def _details(self, title: str) -> dict[str, Any]:
        return next((r.verdict.details for r in self.rules if r.rule.title() == title), {})

    def __repr__(self) -> str:
        return f"ProfileResult({self.profile.job.name!r}, {len(self.findings)} findings)"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)


def profile_job(
    job: JobDirectory, parameters: Mapping[str, Mapping[str, Any]] | None = None, *, replaces: bool = True
) -> ProfileResult:
    """Ask the rules, write the report, and keep what was found in ``output/findings.jsonl``: in the place of what was
    found before, or else beside it, where the job's controller may be writing there, too.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not.
    JobError
        When nothing was recorded.
    """
    profile = JobProfile(job.path)
    if not profile.exists:
        raise JobError(
            f"Job {job.name!r} was not profiled.",
            where=profile.folder,
            do="run it without VIZSLA_PROFILER=off, without DisableProfiler in its document, and with psutil "
            "(pip install 'vizsla[train]')",
        )
    asked = parameters if parameters else rule_parameters(job.document)
    result = ProfileResult(profile, tuple(evaluate(profile, asked)))
    for rule in result.rules:
        write_json(profile.folder / REPORTS / f"{rule.rule.title()}.json", rule.to_dict(), make_folder=True)
    write_json(profile.folder / SUMMARY, result.to_dict())
    write_trace(profile)
    write_page(result.report, job.name, profile, result.rules, result.findings)
    if replaces:
        replace_findings(job.output, result.findings, {kind.name for kind in RULES}, "profiler")
    else:
        told = {finding.rule for finding in read_profile_findings(job.output)}
        append_findings(job.output, [finding for finding in result.findings if finding.rule not in told])
    return result


def write_own_report(job: JobDirectory, seconds: float, note: Callable[[str], None]) -> None:
    """The report of a job that is about to end in this process after so many ``seconds``, where it is profiled. No
    fault in here is the job's."""
    if timelines.current is None or not (timelines.current.computes or seconds >= LEAST_REPORTED_SECONDS):
        return
    timelines.current.flush()
    try:
        profile_job(job)
    except Exception as error:  # noqa: BLE001
        note(f"The profile's report was not written: {type(error).__name__}: {error}")


def main(words: Sequence[str]) -> None:
    """``JOB``: what the supervisor of a job that has ended starts."""
    try:
        job = JobDirectory.open(Path(words[0]))
        if not JobProfile(job.path).exists:
            return
        profile_job(job, replaces=False)
        compact_all(JobProfile(job.path).folder)
    except VizslaError as error:
        print(f"the report was not written: {error}", file=sys.stderr)
