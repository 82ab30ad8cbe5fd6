"""The rules about what feeds the training: processor, disk, loaders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vizsla.parameters import spelled
from vizsla.profiling.finding import ProfileFinding
from vizsla.profiling.rules.base import ProfileRule, Verdict, View, patience, percent

_STALL = 0.2
"""Of the steps' time: a loop that waits less is not worth a change."""


def workers_to_try(view: View) -> int:
    """How many workers a loader is advised: one a core, and no more than would keep up."""
    now = int(view.loader.get("num_workers") or 0)
    return max(1, min(int(view.cores), 16)) if now < int(view.cores) else now


@dataclass
class CPUBottleneck(ProfileRule):
    """Share of samples with a GPU below ``gpu_threshold`` and some core above ``cpu_threshold``; without a GPU, those
    in which all cores are busy and most of it is others' work."""

    name = "cpu_bottleneck"
    aws = "CPUBottleneck"
    description = "Whether the processor keeps the training waiting."
    recommendation = "Load and augment in more workers, prefetch, or do less on the processor."
    why = "the training waits for cores that do something else"
    threshold: float = 50
    gpu_threshold: float = 10
    cpu_threshold: float = 90
    patience: float = 1000

    def judge(self, view: View) -> Verdict:
        n = len(view.core_numbers)
        if n < patience(self.patience, n):
            return Verdict(datapoints=n)
        if view.has_gpu:
            m = min(n, len(view.gpus))
            low = (view.gpus[-m:] < self.gpu_threshold).any(1)
            bad = low & (view.core_numbers[-m:] > self.cpu_threshold).any(1)
            fires = 100 * bad.mean() > self.threshold
            details: dict[str, Any] = {"low_gpu_utilization": int(low.sum()), "bottlenecks": int(bad.sum())}
            words, fix = "the GPU waits while cores are busy", "use more loader workers and prefetch"
        else:
            bad = (view.core_numbers > self.cpu_threshold).all(1)
            own = view.own_cpu / (100 * view.cores)
            fires = 100 * bad.mean() > self.threshold and own < 0.6
            details = {"low_gpu_utilization": 0, "bottlenecks": int(bad.sum()), "own_share": own}
            words = f"all cores are busy and the job has {percent(own) if own == own else 'an unknown share'} of them"
            fix = "let nothing else run on this machine, or give the job fewer threads"
        found = None
        if fires:
            found = self.finding(
                view, f"In {percent(float(bad.mean()))} of the samples {words}.", fix, evidence=details
            )
        return Verdict(int(fires), int(bad.sum()), n, details, found)


@dataclass
class IOBottleneck(ProfileRule):
    """Share of samples with a core that waits for the disk more than ``io_threshold`` and a GPU below
    ``gpu_threshold``; also, a loop that waits for loaders which themselves wait and do not compute."""

    name = "io_bottleneck"
    aws = "IOBottleneck"
    description = "Whether disk or network keep the training waiting."
    recommendation = "Prefetch, keep the data on a faster disk or in fewer, larger files, or cache them."
    why = "the training waits for data that could have been fetched before"
    threshold: float = 50
    gpu_threshold: float = 10
    io_threshold: float = 50
    patience: float = 1000

    def judge(self, view: View) -> Verdict:
        waits = view.io_wait.max(1) if view.io_wait.size else np.empty(0)
        n = len(waits)
        bad = waits > self.io_threshold
        if view.has_gpu:
            m = min(n, len(view.gpus))
            bad = bad[-m:] & (view.gpus[-m:] < self.gpu_threshold).any(1)
        wall = view.fetches("fetch_ns")
        works = view.fetches("fetch_cpu_ns") + view.fetches("fetch_queue_ns")
        idle = max(0.0, 1 - works / wall) if wall else 0.0
        stalls = view.steps is not None and view.wait_share > _STALL
        share = 100 * float(bad.mean()) if len(bad) else 0.0
        fires = (n >= patience(self.patience, n) and share > self.threshold) or (stalls and idle > 0.5)
        details = {
            "low_gpu_utilization": 0,
            "bottlenecks": int(bad.sum()),
            "waiting_for_data": view.wait_share,
            "loaders_idle": idle,
        }
        found = None
        if fires:
            more = f", and its loaders compute in {percent(1 - idle)} of their time only" if wall else ""
            found = self.finding(
                view,
                f"The training waits for data in {percent(view.wait_share)} of its time{more}; cores waited for the "
                f"disk in {share:.0f} % of the samples.",
                "keep the data on a local disk or in memory, in fewer and larger files, and fetch by more workers, "
                "which may wait at the same time",
                evidence=details,
                change={
                    "parameter": "num_workers",
                    "from": int(view.loader.get("num_workers") or 0),
                    "to": max(workers_to_try(view), 2 * int(view.loader.get("num_workers") or 0)),
                },
                seconds=view.wait_share * view.train_seconds,
            )
        return Verdict(int(fires), int(bad.sum()), n, details, found)


@dataclass
class Dataloader(ProfileRule):
    """Workers outside ``min_threshold`` to ``max_threshold`` % of the cores: too few only where the training waits."""

    name = "dataloader"
    aws = "Dataloader"
    description = "Whether a loader's workers are too few or too many for the cores."
    recommendation = "Use about one worker a core."
    why = "workers fetch the next batches while the present one trains"
    min_threshold: float = 70
    max_threshold: float = 200

    def judge(self, view: View) -> Verdict:
        loader, steps = view.loader, view.steps
        if not loader or steps is None:
            return Verdict()
        workers, cores = int(loader.get("num_workers") or 0), view.cores
        share = 100 * workers / cores
        density, edges = np.histogram(steps.wait, 100)
        details: dict[str, Any] = {
            "pin_memory": bool(loader.get("pin_memory")),
            "num_workers": workers,
            "cores": int(cores),
            "dataloaders": len(view.profile.facts.get("loaders", [])),
            "dataloading_time": {
                "p25": float(np.percentile(steps.wait, 25)),
                "p50": float(np.percentile(steps.wait, 50)),
                "p95": float(np.percentile(steps.wait, 95)),
                "probs": (density / max(1, density.sum())).tolist(),
                "binedges": edges.tolist(),
            },
        }
        few = share < self.min_threshold and view.wait_share > _STALL
        many = share > self.max_threshold
        found = None
        if few or many:
            to = workers_to_try(view)
            found = self.finding(
                view,
                f"{workers or 'No'} workers load for {cores:g} cores"
                + (f", and the training waits for data in {percent(view.wait_share)} of its time." if few else "."),
                f"set num_workers={to} in the DataLoader",
                evidence={"num_workers": workers, "cores": cores, "waiting_for_data": view.wait_share},
                change={"parameter": "num_workers", "from": workers, "to": to},
                seconds=view.wait_share * view.train_seconds if few else 0.0,
            )
        return Verdict(int(few or many), int(few or many), len(steps), details, found)


@dataclass
class DataStall(ProfileRule):
    """The steps wait for data in more than ``threshold`` % of their time."""

    name = "data_stall"
    description = "Whether steps wait for their data."
    recommendation = "Use more workers, cache what is decoded, or augment less."
    why = "a step that waits trains nothing"
    threshold: float = 100 * _STALL

    def judge(self, view: View) -> Verdict:
        steps = view.steps
        if steps is None:
            return Verdict()
        late = int((steps.wait > self.threshold / 100 * steps.seconds).sum())
        details = {"waiting_for_data": view.wait_share}
        if (found := self._of_starts(view)) is not None:
            return Verdict(1, late, len(steps), details, found)
        if 100 * view.wait_share <= self.threshold:
            return Verdict(0, late, len(steps), details)
        workers, to = int(view.loader.get("num_workers") or 0), workers_to_try(view)
        per = 1000 * float(np.mean(steps.wait))
        found = self.finding(
            view,
            f"{percent(view.wait_share)} of the steps' time waits for data: {per:.0f} ms a step, with "
            f"{workers or 'no'} workers.",
            f"set num_workers={to}"
            if to != workers
            else "make loading cheaper: smaller copies of the pictures, caching",
            evidence={**details, "steps": len(steps)},
            change={"parameter": "num_workers", "from": workers, "to": to} if to != workers else {},
            seconds=view.wait_share * view.train_seconds,
        )
        return Verdict(1, late, len(steps), details, found)

    def _of_starts(self, view: View) -> ProfileFinding | None:
        """Where most of it is for workers that start, more of them or cheaper loading would not help."""
        (n, seconds), steps = view.restarts, view.profile.train_steps
        if steps is None or not n or seconds < max(0.5 * steps.wait.sum(), self.threshold / 100 * steps.seconds.sum()):
            return None
        return self.finding(
            view,
            f"{percent(seconds / float(steps.seconds.sum()))} of the steps' time waits for workers that start anew in "
            f"each epoch: {seconds / n:.1f} s each time.",
            "set persistent_workers=True in the DataLoader",
            evidence={"starts": n, "seconds": seconds},
            seconds=seconds,
        )


@dataclass
class DecodeBound(ProfileRule):
    """The steps wait, and the loaders decode pictures for more than ``threshold`` % of their time."""

    name = "decode_bound"
    description = "Whether decoding pictures keeps the training waiting."
    recommendation = "Keep smaller copies of the pictures, or what was decoded."
    why = "the same files are decoded anew in each epoch"
    threshold: float = 50

    def judge(self, view: View) -> Verdict:
        wall, n = view.fetches("fetch_ns"), int(view.fetches("decodes"))
        if not wall or not n or view.steps is None:
            return Verdict(datapoints=n)
        share, each = view.fetches("decode_ns") / wall, view.fetches("decode_ns") / n / 1e6
        megapixels = view.fetches("pixels") / n / 1e6
        details = {"decoding": share, "milliseconds": each, "megapixels": megapixels}
        if view.wait_share <= _STALL or 100 * share <= self.threshold:
            return Verdict(0, 0, n, details)
        found = self.finding(
            view,
            f"Loading is decoding for {percent(share)}: {each:.0f} ms a picture of {megapixels:.1f} megapixels.",
            "train on copies that are resized once, or keep decoded pictures in memory "
            f"({spelled('advise')} measures it)",
            evidence=details,
            change={"parameter": "cached_pixels", "from": False, "to": True},
            seconds=share * view.wait_share * view.train_seconds,
        )
        return Verdict(1, n, n, details, found)
