"""The rules of the profiler, SageMaker's first."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from vizsla.errors import UsageError
from vizsla.profiling.rules.base import ProfileRule
from vizsla.profiling.rules.cores import IdleCores, ThreadOversubscription
from vizsla.profiling.rules.data import CPUBottleneck, Dataloader, DataStall, DecodeBound, IOBottleneck
from vizsla.profiling.rules.gpu import BatchSize, GPUMemoryIncrease, LoadBalancing, LowGPUUtilization
from vizsla.profiling.rules.time import (
    EvaluationCost,
    LoggingSync,
    MaxInitializationTime,
    OverallFrameworkMetrics,
    OverallSystemUsage,
    SlowCheckpoint,
    SlowInitialization,
    StepOutlier,
)

RULES: tuple[type[ProfileRule], ...] = (
    *(BatchSize, CPUBottleneck, Dataloader, GPUMemoryIncrease, IOBottleneck, LoadBalancing, LowGPUUtilization),
    *(MaxInitializationTime, StepOutlier, OverallSystemUsage, OverallFrameworkMetrics),
    *(DataStall, DecodeBound, EvaluationCost, IdleCores, LoggingSync, SlowCheckpoint, SlowInitialization),
    ThreadOversubscription,
)
REPORT_RULE = "ProfilerReport"
"""SageMaker's rule that runs all: its parameters are those of the others, ``LowGPUUtilization_threshold_p95=60``."""


def rule_class(name: str) -> type[ProfileRule]:
    """By SageMaker's name or ours, whatever the case.

    Raises
    ------
    UsageError
        For a name that means no rule.
    """
    plain = re.sub("[^a-z]", "", name.lower())
    for kind in RULES:
        if plain in (kind.title().lower(), kind.name.replace("_", "")):
            return kind
    names = [kind.title() for kind in RULES]
    near = get_close_matches(name, names, 1) or names
    raise UsageError(f"The profiler has no rule {name!r:.80}.", parameter="set", allowed=", ".join(near))


def rules_with(parameters: Mapping[str, Mapping[str, Any]]) -> list[ProfileRule]:
    """All rules, with parameters of some by name.

    Raises
    ------
    UsageError
        For a rule or parameter that there is not.
    """
    given = {rule_class(name): values for name, values in parameters.items()}
    return [kind.of(given.get(kind, {})) for kind in RULES]
