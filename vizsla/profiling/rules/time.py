"""The rules about what the time of a job goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vizsla.profiling.layout import NODE
from vizsla.profiling.rules.base import ProfileRule, Verdict, View, percent, statistics
from vizsla.profiling.segments import TRAIN
from vizsla.profiling.timeline import Phase

_PHASES = ("train", "eval", "others")
_SHARED = 0.15
"""Of the machine: where others take more of it, single steps are slow for their sake."""


@dataclass
class MaxInitializationTime(ProfileRule):
    """The first step was not seen within ``threshold`` minutes."""

    name = "max_initialization_time"
    aws = "MaxInitializationTime"
    description = "Whether the first step came in time."
    recommendation = "Copy data once, import less, and load weights from a local file."
    why = "nothing is trained before the first step"
    threshold: float = 20

    def judge(self, view: View) -> Verdict:
        profile = view.profile
        first = profile.segments.loop[0] if profile.segments is not None and view.step else None
        began = profile.span[0]
        minutes = ((first or profile.span[1]) - began) / 60
        details = {"step_num": {"first": 0, "last": view.step}, "job_start": began, "job_end": profile.span[1]}
        if minutes <= self.threshold or (first is None and not profile.processes):
            return Verdict(0, 0, view.step, details)
        found = self.finding(
            view, f"The first step came after {minutes:.0f} minutes.", self.recommendation[:-1].lower()
        )
        return Verdict(1, 1, view.step, details, found)


@dataclass
class StepOutlier(ProfileRule):
    """More than ``n_outliers`` steps that take far longer than the median: ``stddev`` times the spread, by medians,
    which outliers do not move; and what they take beyond it is worth the looking."""

    name = "step_outlier"
    aws = "StepOutlier"
    description = "Whether single steps take far longer than the others."
    recommendation = "See in the charts what happened at the same time."
    why = "rare long steps hide in a mean"
    stddev: float = 3
    n_outliers: float = 10

    def judge(self, view: View) -> Verdict:
        steps = view.steps
        if steps is None:
            return Verdict()
        middle = float(np.median(steps.seconds))
        spread = 1.4826 * float(np.median(np.abs(steps.seconds - middle)))
        bad = steps.seconds > max(middle + self.stddev * spread, 2 * middle)
        density, edges = np.histogram(steps.seconds, 100)
        excess = float((steps.seconds[bad] - middle).sum())
        details: dict[str, Any] = {
            "step_details": {
                NODE: {
                    "step_stats": statistics(steps.seconds) | {"mean": float(steps.seconds.mean())},
                    "number_of_outliers": int(bad.sum()),
                    "phase": "Step:ModeKeys.TRAIN",
                    "stddev": spread,
                    "probs": (density / max(1, density.sum())).tolist(),
                    "binedges": edges.tolist(),
                    "step_numbers": (steps.numbers[bad][:100]).tolist(),
                }
            }
        }
        enough = bad.sum() > min(self.n_outliers, max(3.0, 0.02 * len(steps)))
        fires = bool(enough) and excess > 0.1 * view.train_seconds
        found = None
        if fires:
            waiting = float(steps.wait[bad].sum() / steps.seconds[bad].sum())
            cause = f"{percent(waiting)} of it waiting for data" if waiting > 0.3 else "not waiting for data"
            shared = view.others_share > _SHARED
            if shared:
                cause += f"; beside the job others took {percent(view.others_share)} of the machine"
            found = self.finding(
                view,
                f"{int(bad.sum())} of {len(steps):,} steps took over {1000 * steps.seconds[bad].min():.0f} ms "
                f"(median {1000 * middle:.0f} ms), {cause}.",
                "see the chart of steps, and what the machine did at the same time",
                evidence={"outliers": int(bad.sum()), "first": (steps.numbers[bad][:10]).tolist()},
                seconds=excess,
                confidence="low" if shared else "medium",
                severity="info" if shared else "warning",
            )
        return Verdict(int(fires), int(bad.sum()), len(steps), details, found)


@dataclass
class OverallSystemUsage(ProfileRule):
    """Statistics of the machine; it never speaks."""

    name = "overall_system_usage"
    aws = "OverallSystemUsage"
    description = "Statistics of the machine."
    recommendation = ""

    def judge(self, view: View) -> Verdict:
        samples = view.profile.samples
        parts = {
            "Network": ("network", None, "Platform"),
            "GPU": ("gpu", None, "GPUUtilization"),
            "CPU": ("cpu", None, "CPUUtilization"),
            "CPU memory": ("memory", None, None),
            "GPU memory": ("gpu", None, "GPUMemoryUtilization"),
            "I/O": ("i/o", "IOPS", None),
        }
        values = {title: samples.of(*which)[1] for title, which in parts.items()}
        details = {title: {NODE: statistics(v)} for title, v in values.items() if len(v)}
        return Verdict(datapoints=len(samples), details=details)


@dataclass
class OverallFrameworkMetrics(ProfileRule):
    """Statistics of the training loop; it never speaks."""

    name = "overall_framework_metrics"
    aws = "OverallFrameworkMetrics"
    description = "What the training loop's time went to."
    recommendation = ""

    def judge(self, view: View) -> Verdict:
        profile, loop = view.profile, view.profile.loop
        if loop is None or not loop.total:
            return Verdict()
        parts = dict(zip(_PHASES, (loop.train, loop.evaluation, loop.other), strict=True))
        passes = {p.name.lower(): profile.phase_seconds(p, mode=TRAIN) for p in (Phase.FORWARD, Phase.BACKWARD)}
        whole = sum(passes.values()) or 1.0
        details = {
            "phase": {name: round(100 * seconds / loop.total, 2) for name, seconds in parts.items()},
            "forward_backward": {name: round(100 * seconds / whole, 2) for name, seconds in passes.items()},
            "ratio": {},
            "general": {name: round(seconds, 3) for name, seconds in profile.phases.items()},
        }
        return Verdict(datapoints=view.step, details=details)


@dataclass
class EvaluationCost(ProfileRule):
    """Evaluation takes more than ``threshold`` % of the training loop."""

    name = "evaluation_cost"
    description = "Whether evaluation takes too much of the time."
    recommendation = "Evaluate every few epochs, in larger batches, or on fewer pictures."
    why = "what evaluates does not train"
    threshold: float = 33
    seconds: float = 2

    def judge(self, view: View) -> Verdict:
        loop = view.profile.loop
        if loop is None or view.steps is None:
            return Verdict()
        share = loop.evaluation / loop.total if loop.total else 0.0
        details = {"evaluation": share, "seconds": loop.evaluation}
        if 100 * share <= self.threshold or loop.evaluation < self.seconds:
            return Verdict(0, 0, view.step, details)
        every = min(10, max(2, round(4 * loop.evaluation / max(loop.train, 1e-9))))
        found = self.finding(
            view,
            f"Evaluation takes {percent(share)} of the training loop: {loop.evaluation:.0f} s.",
            f"evaluate every {every} epochs, or on a sample of the pictures",
            evidence=details,
            change={"parameter": "evaluate_every", "from": 1, "to": every},
            seconds=loop.evaluation * (1 - 1 / every),
        )
        return Verdict(1, 1, view.step, details, found)


@dataclass
class LoggingSync(ProfileRule):
    """Reading values from tensors, printing and logging take more than ``threshold`` % of the loop; of more than
    ``values`` a step, a fifth of that is enough, as more time goes by between the reads than within them."""

    name = "logging_sync"
    description = "Whether logging keeps the training waiting."
    recommendation = "Add losses up on the device and read them every some tens of steps."
    why = "each value that is read waits until the device has done all that it was given"
    threshold: float = 10
    values: float = 100

    def judge(self, view: View) -> Verdict:
        segments = view.profile.segments
        if segments is None or view.steps is None or not view.train_seconds:
            return Verdict()
        chosen = (segments.phase == Phase.LOGGING) & (segments.modes == TRAIN)
        seconds = float((segments.ended - segments.began)[chosen].sum())
        reads = float(segments.count[chosen].sum()) / max(1, view.step)
        share = seconds / view.train_seconds
        details = {"logging": share, "values_a_step": reads}
        if 100 * share <= (self.threshold if reads <= self.values else self.threshold / 5):
            return Verdict(0, 0, view.step, details)
        what = f"{reads:.0f} values are read from tensors a step" if reads >= 1 else "text is written in the steps"
        found = self.finding(
            view,
            f"Logging takes {percent(share)} of the steps' time: {what}.",
            "read values every 50 steps; add losses up as tensors (total += loss.detach())"
            if reads >= 1
            else "write every 50 steps",
            evidence=details,
            seconds=seconds * 0.98,
        )
        return Verdict(1, int(chosen.sum()), view.step, details, found)


@dataclass
class SlowCheckpoint(ProfileRule):
    """Saving takes more than ``threshold`` % of the loop."""

    name = "slow_checkpoint"
    description = "Whether saving takes too much of the time."
    recommendation = "Save less often, less (the weights that train), or to a faster disk."
    why = "nothing trains while a file is written"
    threshold: float = 10
    seconds: float = 1

    def judge(self, view: View) -> Verdict:
        share, seconds = view.share(Phase.CHECKPOINT), view.profile.phase_seconds(Phase.CHECKPOINT)
        segments = view.profile.segments
        n = 0 if segments is None else int((segments.phase == Phase.CHECKPOINT).sum())
        details = {"saving": share, "seconds": seconds, "times": n}
        if view.steps is None or 100 * share <= self.threshold or seconds < self.seconds:
            return Verdict(0, 0, n, details)
        found = self.finding(
            view,
            f"Saving takes {percent(share)} of the training loop: {n} times, {seconds / max(1, n):.1f} s each.",
            "save every few epochs, or the best one only",
            evidence=details,
            seconds=seconds * 0.8,
        )
        return Verdict(1, n, n, details, found)


@dataclass
class SlowInitialization(ProfileRule):
    """The first step comes after more than ``seconds`` s that are more than ``threshold`` % of the job."""

    name = "slow_initialization"
    description = "Whether the training begins late."
    recommendation = "Copy data once, import less, and load weights from a local file."
    why = "nothing is trained before the first step"
    threshold: float = 25
    seconds: float = 30

    def judge(self, view: View) -> Verdict:
        profile = view.profile
        if profile.segments is None or not view.step:
            return Verdict()
        parts = {name: s for name, s in profile.phases.items() if name.startswith("initialisation")}
        seconds = sum(parts.values())
        share = seconds / max(profile.seconds, 1e-9)
        details = {"seconds": seconds, "parts": parts}
        if seconds < self.seconds or 100 * share < self.threshold:
            return Verdict(0, 0, view.step, details)
        most = max(parts, key=lambda name: parts[name], default="initialisation, other")
        found = self.finding(
            view,
            f"Initialisation takes {seconds:.0f} s, {percent(share)} of the job; the most of it is "
            f"{most.removeprefix('initialisation, ')} ({parts.get(most, 0):.0f} s).",
            self.recommendation[:-1].lower(),
            evidence=details,
        )
        return Verdict(1, 1, view.step, details, found)
