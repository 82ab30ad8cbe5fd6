"""What a rule of the profiler is: a profile in, a verdict in the form of SageMaker's rule JSON out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vizsla.errors import UsageError
from vizsla.profiling.finding import ProfileFinding
from vizsla.profiling.profile import JobProfile
from vizsla.profiling.samples import Samples
from vizsla.profiling.segments import Steps
from vizsla.profiling.timeline import Phase

Floats = npt.NDArray[np.float64]
_WARM_UP = 3
"""Steps at the beginning that say nothing: memory is taken, kernels are chosen, workers start."""
LEAST_STEPS = 12
_LEAST_SAMPLES = 20


@dataclass(frozen=True)
class Verdict:
    """What a rule says: how often it spoke, how often its condition held, of how many datapoints."""

    triggered: int = 0
    violations: int = 0
    datapoints: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    finding: ProfileFinding | None = None


class View:
    """A profile as rules look at it: the training loop, without its first steps."""

    def __init__(self, profile: JobProfile) -> None:
        self.profile = profile

    @cached_property
    def steps(self) -> Steps | None:
        """The steps that train, from the fourth on and without the first of each epoch; None where there are too
        few."""
        steps = self.profile.train_steps
        if steps is None or len(steps) < LEAST_STEPS:
            return None
        kept = (np.arange(len(steps)) >= _WARM_UP) & ~steps.begins
        if kept.sum() < LEAST_STEPS - _WARM_UP:
            return None
        return Steps(*(getattr(steps, f.name)[kept] for f in fields(Steps)))

    @property
    def step(self) -> int:
        """The number of the last step."""
        steps = self.profile.train_steps
        return 0 if steps is None else len(steps)

    @cached_property
    def train_seconds(self) -> float:
        """Seconds that trained, without the first steps."""
        return 0.0 if self.steps is None else float(self.steps.seconds.sum())

    @cached_property
    def wait_share(self) -> float:
        """Of the steps' time, what waited for data."""
        return (
            0.0 if self.steps is None or not self.train_seconds else float(self.steps.wait.sum()) / self.train_seconds
        )

    def share(self, *phases: Phase) -> float:
        """Of the training loop, what phases took."""
        loop = self.profile.loop
        return 0.0 if loop is None or not loop.total else self.profile.phase_seconds(*phases) / loop.total

    @cached_property
    def samples(self) -> Samples:
        """Of the machine in the training loop; all where no network was seen."""
        return self._within(self.profile.samples)

    @cached_property
    def own_samples(self) -> Samples:
        """Of the job's processes in the training loop."""
        return self._within(self.profile.own_samples)

    def _within(self, samples: Samples) -> Samples:
        segments = self.profile.segments
        if segments is None:
            return samples
        begin, end = segments.loop
        return samples.between(begin * 1e6, end * 1e6)

    @cached_property
    def cores(self) -> float:
        """Cores that the job may use."""
        return float(self.profile.sampler.get("core_limit") or 1)

    @cached_property
    def core_numbers(self) -> npt.NDArray[np.float64]:
        """(samples, cores) busy in %."""
        return self.samples.table("cpu", "CPUUtilization")[1]

    @cached_property
    def io_wait(self) -> npt.NDArray[np.float64]:
        """(samples, cores) waiting for the disk in %."""
        return self.samples.table("cpu", "I/OWaitPercentage")[1]

    @cached_property
    def gpus(self) -> npt.NDArray[np.float64]:
        """(samples, gpus) busy in %."""
        return self.samples.table("gpu", "GPUUtilization")[1]

    @cached_property
    def gpu_memory(self) -> npt.NDArray[np.float64]:
        """(samples, gpus) in use in %."""
        return self.samples.table("gpu", "GPUMemoryUtilization")[1]

    @property
    def has_gpu(self) -> bool:
        """Whether the job trains on one that was sampled."""
        return self.gpus.shape[1] > 0 and bool(self.profile.facts.get("device", "cuda") == "cuda")

    @cached_property
    def own_cpu(self) -> float:
        """Percent of one core that the job's processes took, in the mean of the training loop; nan where unknown."""
        values = self.own_samples.of("process", "CPUUtilization")[1]
        return float(values.mean()) if len(values) else float("nan")

    @cached_property
    def others_share(self) -> float:
        """Of the machine's cores, what processes beside the job took, in the mean of the training loop; 0 or nan
        where unknown."""
        n = int(self.core_numbers.shape[1])
        if not len(self.core_numbers) or not n:
            return float("nan")
        busy = float(self.core_numbers.mean(axis=0).sum())
        return max(0.0, busy - self.own_cpu) / (100.0 * float(n))

    @cached_property
    def loader(self) -> dict[str, Any]:
        """Settings of the loader that training draws from; of several the one with the most pictures."""
        known = self.profile.facts.get("loaders") or []
        training = [entry for entry in known if entry.get("trains")] or known
        return max(training, key=lambda entry: entry.get("items") or 0, default={})

    @cached_property
    def restarts(self) -> tuple[int, float]:
        """How often the workers of the loader were started anew, and the seconds that steps waited for it."""
        steps, workers = self.profile.train_steps, int(self.loader.get("num_workers") or 0)
        if steps is None or not workers or self.loader.get("persistent_workers"):
            return 0, 0.0
        starts = np.flatnonzero(steps.begins)[1:]
        # The start belongs to the step before; then each worker has a first batch.
        waits = np.unique(starts[:, None] + np.arange(-1, workers))
        return len(starts), float(steps.wait[waits[waits < len(steps)]].sum())

    def fetches(self, name: str) -> float:
        """The sum over all processes that fetched batches."""
        return float(sum(entry.get(name, 0) for entry in self.profile.loaders))


@dataclass
class ProfileRule(ABC):
    """A rule. Its fields are its parameters, by SageMaker's names, with SageMaker's defaults."""

    name: ClassVar[str]
    aws: ClassVar[str | None] = None
    """SageMaker's name for it."""
    description: ClassVar[str]
    recommendation: ClassVar[str]
    why: ClassVar[str] = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """With parameters, which may be text.

        Raises
        ------
        UsageError
            For a parameter that it does not have.
        """
        known = {f.name: f for f in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise UsageError(
                    f"The rule {cls.title()} has no parameter {name!r}.",
                    parameter="set",
                    allowed=", ".join(known) or "none",
                )
            try:
                float(value)
            except (TypeError, ValueError) as error:
                raise UsageError(f"{name}={value!r} is no number.", parameter="set", allowed="a number") from error
        return cls(**{name: float(value) for name, value in values.items()})

    @classmethod
    def title(cls) -> str:
        """The name in reports: SageMaker's, or one of its form."""
        return cls.aws or "".join(part.capitalize() for part in cls.name.split("_"))

    @abstractmethod
    def judge(self, view: View) -> Verdict:
        """Look at a profile."""

    def parameters(self) -> str:
        """``name:value`` a line, as in SageMaker's JSON."""
        return "\n".join(f"{f.name}:{getattr(self, f.name):g}" for f in fields(self))

    def finding(self, view: View, message: str, fix: str, **more: Any) -> ProfileFinding:
        """What it says, at the last step that was seen."""
        severity = more.pop("severity", "warning")
        return ProfileFinding(self.name, severity, view.step, message, fix, why=self.why, **more)


def patience(asked: float, n: int) -> int:
    """Samples before a rule may speak: of a short job a tenth of what there is, at least 20."""
    return int(min(asked, max(_LEAST_SAMPLES, n / 10)))


def percent(share: float) -> str:
    """0.4 to '40 %'."""
    return f"{100 * share:.0f} %"


def quantiles(values: Floats, **shares: float) -> dict[str, float]:
    """By name; nothing of nothing."""
    return (
        {name: round(float(np.percentile(values, share)), 4) for name, share in shares.items()} if len(values) else {}
    )


def statistics(values: Floats) -> dict[str, float]:
    """SageMaker's five numbers of a metric."""
    return quantiles(values, max=100, p99=99, p95=95, p50=50, min=0)
