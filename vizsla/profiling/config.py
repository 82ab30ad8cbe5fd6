"""What a job's document says of its profile: SageMaker's ``ProfilerConfig``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizsla.errors import UsageError

LEAST_MILLISECONDS, MOST_MILLISECONDS = 100, 60_000
_DEFAULT_MILLISECONDS = 500
_DETAIL_STEP, _DETAIL_STEPS = 5, 1
"""SageMaker's defaults of a FrameworkProfile."""


@dataclass(frozen=True)
class ProfilerConfig:
    """How a job is profiled.

    ``interval`` is in seconds. From ``detail_step`` on, ``detail_steps`` steps go through torch.profiler; None: none
    do. ``advise``: whether the training tries the advised changes by itself (``try``) and goes on with those that gain
    (``apply``).

    Examples
    --------
    >>> ProfilerConfig.of({"ProfilingIntervalInMilliseconds": 1000}).interval
    1.0
    """

    interval: float = _DEFAULT_MILLISECONDS / 1000
    disabled: bool = False
    detail_step: int | None = None
    detail_steps: int = _DETAIL_STEPS
    advise: str = ""

    @classmethod
    def of(cls, document: Mapping[str, Any] | None) -> ProfilerConfig:
        """From the field of a CreateTrainingJob; ``VIZSLA_PROFILER=off`` in the environment switches all off.

        Raises
        ------
        UsageError
            For a value that cannot be meant.
        """
        values = document or {}
        off = os.environ.get("VIZSLA_PROFILER", "").strip().lower() in ("off", "0", "false")
        milliseconds = values.get("ProfilingIntervalInMilliseconds")
        milliseconds = _DEFAULT_MILLISECONDS if milliseconds is None else milliseconds
        if not LEAST_MILLISECONDS <= milliseconds <= MOST_MILLISECONDS:
            raise UsageError(
                f"The profiler cannot sample every {milliseconds:,} ms.",
                where="ProfilerConfig.ProfilingIntervalInMilliseconds",
                allowed=f"{LEAST_MILLISECONDS} to {MOST_MILLISECONDS:,}; SageMaker's: 100, 200, 500, 1000, 5000, 60000",
            )
        parameters = dict(values.get("ProfilingParameters") or {})
        step, steps = _detail(parameters)
        advise = str(parameters.get("Advise", "")).lower()
        if advise not in ("", "try", "apply"):
            raise UsageError(
                f"There is no {advise!r}.",
                where="ProfilerConfig.ProfilingParameters.Advise",
                allowed="try: measure the advised changes; apply: go on with those that gain",
            )
        return cls(milliseconds / 1000, off or bool(values.get("DisableProfiler")), step, steps, advise)


def _detail(parameters: Mapping[str, Any]) -> tuple[int | None, int]:
    """Which steps go through torch.profiler: none, where the document asks for no profile of the framework."""
    text = parameters.get("DetailedProfilingConfig")
    if text is None:
        return None, _DETAIL_STEPS
    where = "ProfilerConfig.ProfilingParameters.DetailedProfilingConfig"
    try:
        read = json.loads(_COMMA.sub(r"\1", text or "{}"))
        values = {str(k).lower(): int(v) for k, v in read.items() if str(k).lower() in _KEYS}
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(
            f"The steps to be looked at closely cannot be read: {text!r:.80}.",
            where=where,
            allowed='JSON such as {"StartStep": 5, "NumSteps": 3}',
        ) from error
    step, steps = values.get("startstep", _DETAIL_STEP), values.get("numsteps", _DETAIL_STEPS)
    if step < 0 or not 1 <= steps <= 100:
        raise UsageError(
            f"{steps} steps from step {step} on cannot be looked at closely.",
            where=where,
            allowed="StartStep of at least 0, NumSteps from 1 to 100",
        )
    return step, steps


_KEYS = ("startstep", "numsteps")
_COMMA = re.compile(r",\s*(\}\s*)$")
"""SageMaker's SDK leaves a comma before the last brace."""
