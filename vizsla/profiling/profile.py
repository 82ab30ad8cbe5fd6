"""What a job's profile says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.optional import require
from vizsla.profiling.layout import output_of
from vizsla.profiling.samples import Samples
from vizsla.profiling.segments import EVAL, TRAIN, Segments, Steps
from vizsla.profiling.timeline import Phase

_LABELS = {
    Phase.INITIALIZATION: "initialisation, other",
    Phase.IMPORTS: "initialisation, imports",
    Phase.WEIGHTS: "initialisation, weights",
    Phase.COPYING: "initialisation, copying data",
    Phase.COMPILE: "initialisation, compiling",
    Phase.DATA: "waiting for data",
    Phase.TRANSFER: "host to device",
    Phase.FORWARD: "forward",
    Phase.BACKWARD: "backward",
    Phase.OPTIMIZER: "optimizer",
    Phase.EVALUATION: "evaluation",
    Phase.CHECKPOINT: "checkpoint",
    Phase.LOGGING: "logging",
    Phase.FEATURES: "features",
    Phase.HEAD: "training the head",
    Phase.OTHER: "other",
    Phase.FINALIZATION: "finalisation",
}
_BEFORE_FIRST = (Phase.IMPORTS, Phase.WEIGHTS, Phase.COPYING)
"""What is "other" once the loop has begun."""


@dataclass(frozen=True)
class Loop:
    """Which share of the time trained, evaluated, or did neither; seconds."""

    train: float
    evaluation: float
    other: float

    @property
    def total(self) -> float:
        """All of the training loop."""
        return self.train + self.evaluation + self.other


class JobProfile:
    """The profile of a job that has ended, or runs.

    Parameters
    ----------
    job:
        The job's folder, or its name below the folder of jobs (``VIZSLA_HOME``).

    Examples
    --------
    >>> profile = JobProfile("flowers")  # doctest: +SKIP
    >>> profile.phases  # seconds by phase  # doctest: +SKIP
    """

    def __init__(self, job: str | os.PathLike[str]) -> None:
        from vizsla.settings import settings

        path = Path(getattr(job, "path", job))  # a job directory, too
        named = settings().home / path
        self.job = path if path.is_dir() or not named.is_dir() else named
        self.folder = output_of(self.job)

    def __repr__(self) -> str:
        return f"JobProfile({str(self.job)!r})"

    @property
    def exists(self) -> bool:
        """Whether anything was recorded."""
        return self.folder.is_dir()

    @cached_property
    def state(self) -> dict[str, Any]:
        """``state.json`` of the job."""
        return _read(self.job / "state.json")

    @cached_property
    def sampler(self) -> dict[str, Any]:
        """Facts about the machine and the sampling: interval, cores, limits, what could not be read and why."""
        return _read(self.folder / "sampler.json")

    @cached_property
    def samples(self) -> Samples:
        """Of the machine."""
        return Samples.read(self.folder / "system")

    @cached_property
    def own_samples(self) -> Samples:
        """Of the job's processes: CPU (% of one core), bytes of memory, threads, processes."""
        return Samples.read(self.folder / "process")

    def system_metrics(self) -> Any:
        """A ``pandas.DataFrame`` with the columns of SageMaker's ``PandasFrame.get_all_system_metrics``: ``timestamp``
        (UTC), ``timestamp_us`` (since the minute of the first sample), ``value``, ``system_metric``, ``dimension``,
        ``nodeID``, ``type``.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        pandas = require("pandas", extra="notebook", feature="A table as a pandas DataFrame")
        return pandas.DataFrame(self.samples.columns())

    @cached_property
    def processes(self) -> tuple[Segments, ...]:
        """The processes that trained or evaluated, the one with the most steps first. Of our own work the epochs count:
        networks are also called to time and to export them."""
        found = [Segments.read(path) for path in sorted((self.folder / "framework").glob("*.segments"))]
        if epochs := [(begin, end) for name, begin, end in self.stages if name == _EPOCHS]:
            found = [segments.within(epochs) for segments in found]
        return tuple(sorted((s for s in found if len(s)), key=lambda s: -int(s.is_step.sum())))

    @cached_property
    def segments(self) -> Segments | None:
        """Of the process that trains; None where no network did."""
        return self.processes[0] if self.processes else None

    @cached_property
    def stages(self) -> list[tuple[str, float, float]]:
        """What our own work announced: name, begin and end (seconds of Unix time)."""
        return [(str(name), float(a), float(b)) for name, a, b in _read(self.folder / "stages.json").get("stages", [])]

    @cached_property
    def span(self) -> tuple[float, float]:
        """Begin and end of the job as far as it was seen, in seconds of Unix time."""
        begins = [float(self.sampler["began"])] if "began" in self.sampler else []
        ends = [b + float(self.sampler["seconds"]) for b in begins]
        for us in (self.samples.us,):
            if len(us):
                begins.append(us.min() / 1e6)
                ends.append(us.max() / 1e6)
        for segments in self.processes:
            begins.append(float(segments.began[0]))
            ends.append(float(segments.facts.get("ended_ns", 0)) / 1e9 or float(segments.ended.max()))
            ends.append(float(segments.ended.max()))
        begins += [begin for _, begin, _ in self.stages]
        ends += [end for _, _, end in self.stages]
        return (min(begins), max(ends)) if begins else (0.0, 0.0)

    @property
    def seconds(self) -> float:
        """How long it was seen."""
        return self.span[1] - self.span[0]

    def steps(self, mode: str = "train") -> Steps | None:
        """The steps that trained (``train``) or evaluated (``eval``); None where no network was seen."""
        return None if self.segments is None else self.segments.steps(TRAIN if mode == "train" else EVAL)

    @cached_property
    def train_steps(self) -> Steps | None:
        """The steps that trained."""
        return self.steps()

    @cached_property
    def loop(self) -> Loop | None:
        """The training loop's time by what it did; None where no network was seen."""
        if self.segments is None:
            return None
        train, evaluation = self.segments.steps(TRAIN), self.segments.steps(EVAL)
        extra = self.segments.phase == Phase.EVALUATION
        seconds = float(evaluation.seconds.sum()) + float((self.segments.ended - self.segments.began)[extra].sum())
        total = self.segments.loop[1] - self.segments.loop[0]
        trained = float(train.seconds.sum())
        return Loop(trained, seconds, max(0.0, total - trained - seconds))

    @cached_property
    def intervals(
        self,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The whole job as adjoining pieces: begin, end, phase, mode."""
        begin, end = self.span
        segments = self.segments
        if segments is None:
            none, bytes_ = np.empty(0), np.empty(0, np.uint8)
            return _with_gaps(none, none, bytes_, bytes_, begin, end, begin, end, self.stages)
        first, last = segments.loop
        phase, modes = segments.phase.copy(), segments.modes.copy()
        phase[(segments.began >= first) & np.isin(phase, _BEFORE_FIRST)] = Phase.OTHER
        return _with_gaps(segments.began, segments.ended, phase, modes, begin, end, first, last, self.stages)

    @cached_property
    def phases(self) -> dict[str, float]:
        """Seconds by phase, the longest first; they add up to the whole job. Whatever evaluates is ``evaluation``."""
        began, ended, phase, modes = self.intervals
        kinds = np.where(modes == EVAL, np.uint8(Phase.EVALUATION), phase)
        seconds = np.bincount(kinds, ended - began, len(Phase))
        named = {_LABELS[Phase(i)]: float(s) for i, s in enumerate(seconds) if s > 0}
        return dict(sorted(named.items(), key=lambda item: -item[1]))

    def phase_seconds(self, *phases: Phase, mode: int | None = None) -> float:
        """Seconds of phases of the training process, of one mode where it is named."""
        if self.segments is None:
            return 0.0
        s = self.segments
        chosen = np.isin(s.phase, phases) & ((s.modes == mode) if mode is not None else True)
        return float((s.ended - s.began)[chosen].sum())

    @cached_property
    def images_per_second(self) -> float | None:
        """Pictures in a second of training, without the first steps; None where no batches were seen."""
        steps = self.train_steps
        if steps is None or len(steps) < 4 or not steps.pictures[2:].sum():
            return None
        return float(steps.pictures[2:].sum() / steps.seconds[2:].sum())

    @cached_property
    def loaders(self) -> list[dict[str, Any]]:
        """What each process that fetched batches did."""
        return [
            values for path in sorted((self.folder / "framework" / "loaders").glob("*.json")) if (values := _read(path))
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """Facts about the training process: threads, device, loaders."""
        return {} if self.segments is None else self.segments.facts

    @cached_property
    def advice(self) -> dict[str, Any]:
        """What was measured of advised changes (``vizsla profile --advise``)."""
        return _read(self.folder / "advice.json")


def _with_gaps(
    began: npt.NDArray[np.float64],
    ended: npt.NDArray[np.float64],
    phase: npt.NDArray[np.uint8],
    modes: npt.NDArray[np.uint8],
    begin: float,
    end: float,
    first: float,
    last: float,
    stages: list[tuple[str, float, float]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pieces with all that lies between them: initialisation before the loop, finalisation after it, other within."""
    edges = [begin, end, first, last]
    for _, a, b in stages:
        edges += [a, b]
    marks = np.unique(np.clip(edges, begin, end))
    gap_began = np.concatenate([[begin], np.maximum.accumulate(ended)]) if len(ended) else np.array([begin])
    gap_ended = np.concatenate([began, [end]])
    chosen = gap_ended > gap_began
    gap_began, gap_ended = gap_began[chosen], gap_ended[chosen]
    # Where another part of the job begins within a gap, it is two.
    cuts = marks[np.searchsorted(gap_began, marks, side="right") > np.searchsorted(gap_ended, marks, side="right")]
    gap_began = np.sort(np.concatenate([gap_began, cuts]))
    gap_ended = np.sort(np.concatenate([gap_ended, cuts]))
    middle = (gap_began + gap_ended) / 2
    kinds = np.full(len(middle), int(Phase.OTHER), np.uint8)
    if len(began):
        kinds[middle < first] = Phase.INITIALIZATION
        kinds[middle > last] = Phase.FINALIZATION
    for name, a, b in stages:
        if (own := STAGES.get(name)) is not None:
            kinds[(middle >= a) & (middle < b)] = own
    all_began = np.concatenate([began, gap_began])
    order = np.argsort(all_began, kind="stable")
    return (
        all_began[order],
        np.concatenate([ended, gap_ended])[order],
        np.concatenate([phase, kinds])[order],
        np.concatenate([modes, np.zeros(len(middle), np.uint8)])[order],
    )


_EPOCHS = "epochs"
STAGES: dict[str, Phase] = {
    "channels": Phase.COPYING,
    "requirements": Phase.INITIALIZATION,
    "scan": Phase.INITIALIZATION,
    "check": Phase.INITIALIZATION,
    "backbone": Phase.WEIGHTS,
    "choice": Phase.INITIALIZATION,
    "plan": Phase.INITIALIZATION,
    "pixels": Phase.INITIALIZATION,
    "activations": Phase.FEATURES,
    "features": Phase.FEATURES,
    "trained features": Phase.FEATURES,
    "head": Phase.HEAD,
    "heads": Phase.HEAD,
    "evaluation": Phase.EVALUATION,
    "model": Phase.CHECKPOINT,
    "export": Phase.CHECKPOINT,
}
"""The stages of our own work as phases; what is not named is other."""


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
