"""Jobs that are profiled: all, unless somebody switched it off."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from vizsla.errors import VizslaError
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.spec import TrainingJobSpec
from vizsla.profiling.config import ProfilerConfig
from vizsla.profiling.layout import output_of
from vizsla.profiling.start import end_sampler, new_clock, start_sampler


def config_of(spec: TrainingJobSpec) -> ProfilerConfig:
    """What a document asks for.

    Raises
    ------
    UsageError
        When it cannot be meant.
    """
    return ProfilerConfig.of(spec.profiler_config.to_dict() if spec.profiler_config else None)


def sampling_interval(spec: TrainingJobSpec) -> float | None:
    """Seconds between two samples; None where the job is not profiled."""
    config = config_of(spec)
    return None if config.disabled else config.interval


@contextlib.contextmanager
def profiled_here(job: JobDirectory, config: ProfilerConfig | None = None) -> Iterator[None]:
    """Profile a job that runs within this process, in this thread, during the block."""
    from vizsla.profiling import startup
    from vizsla.profiling.compaction import compact_all

    if config is None:
        config = _of_document(job)
    if config.disabled:
        yield
        return
    clock = new_clock()
    sampler = start_sampler(job.path, config.interval, clock, os.getpid())
    startup.begin_within(job.path, clock)
    try:
        yield
    finally:
        startup.end_within()
        end_sampler(sampler)
        if output_of(job.path).is_dir():
            with contextlib.suppress(VizslaError):  # a full disk: the lines can be read as well
                compact_all(output_of(job.path))


def _of_document(job: JobDirectory) -> ProfilerConfig:
    document = job.document.get("TrainingJobDefinition", job.document)
    try:
        return ProfilerConfig.of(document.get("ProfilerConfig"))
    except VizslaError:  # of another version: no profile is no reason not to run
        return ProfilerConfig(disabled=True)


def rule_parameters(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Parameters of rules by rule, as ``ProfilerRuleConfigurations`` of a document has them: those of a rule itself,
    and of the ``ProfilerReport`` those of the others (``LowGPUUtilization_threshold_p95``).

    Raises
    ------
    UsageError
        For a rule that there is not.
    """
    from vizsla.profiling.rules import REPORT_RULE, rule_class

    result: dict[str, dict[str, str]] = {}
    document = document.get("TrainingJobDefinition", document)
    for entry in document.get("ProfilerRuleConfigurations") or ():
        values = dict(entry.get("RuleParameters") or {})
        name = values.pop("rule_to_invoke", None) or entry["RuleConfigurationName"]
        if name.lower().startswith(REPORT_RULE.lower()):
            for key, value in values.items():
                rule, _, parameter = key.partition("_")
                if parameter and rule != "opt" and not _is_ours_already(parameter, value):
                    result.setdefault(rule_class(rule).title(), {})[parameter] = value
        else:
            own = {k: v for k, v in values.items() if not _is_ours_already(k, v)}
            result.setdefault(rule_class(name).title(), {}).update(own)
    return result


def _is_ours_already(parameter: str, value: str) -> bool:
    """A training is judged once, when it has ended, and its steps are those of mode TRAIN."""
    return parameter == "scan_interval_us" or (parameter == "mode" and value in ("None", "TRAIN"))
