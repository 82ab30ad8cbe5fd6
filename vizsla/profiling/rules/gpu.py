"""The rules about GPUs; where a job has none, what they mean there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vizsla.parameters import spelled
from vizsla.profiling.layout import NODE
from vizsla.profiling.rules.base import ProfileRule, Verdict, View, patience, quantiles

_BINS = np.arange(0, 101, 2)
_RISE_BYTES, _RISE_SHARE = 64 << 20, 0.1


@dataclass
class LowGPUUtilization(ProfileRule):
    """Per GPU: p95 below ``threshold_p95``, or above it with p5 below ``threshold_p5``."""

    name = "low_gpu_utilization"
    aws = "LowGPUUtilization"
    description = "Whether GPUs are little used, or now and then only."
    recommendation = "Look for bottlenecks, use larger batches, and let fewer calls wait for the GPU."
    why = "a GPU that waits is paid for and does nothing"
    threshold_p95: float = 70
    threshold_p5: float = 10
    window: float = 500
    patience: float = 1000

    def judge(self, view: View) -> Verdict:
        n = len(view.gpus)
        if not view.has_gpu or n < patience(self.patience, n):
            return Verdict(datapoints=n if view.has_gpu else 0)
        details: dict[str, Any] = {}
        low: list[str] = []
        recent = view.gpus[-int(self.window) :]
        for i in range(recent.shape[1]):
            q = quantiles(recent[:, i], p5=5, p25=25, p50=50, p75=75, p95=95, max=100)
            names = {"gpu_max": "max", "gpu_95": "p95", "gpu_5": "p5"}
            details[f"gpu{i}"] = q | {long: q[short] for long, short in names.items()}
            if q["p95"] < self.threshold_p95 or q["p5"] < self.threshold_p5:
                low.append(f"gpu{i} (p5 {q['p5']:.0f} %, p95 {q['p95']:.0f} %)")
        found = None
        if low:
            found = self.finding(
                view,
                f"Little used: {', '.join(low)}.",
                "see what the steps wait for in the split by phases; try larger batches",
                evidence=details,
            )
        return Verdict(int(bool(low)), len(low), n, {NODE: details}, found)


@dataclass
class BatchSize(ProfileRule):
    """p95 of CPU, GPU and GPU memory all below their thresholds; on a processor, small batches on idle cores."""

    name = "batch_size"
    aws = "BatchSize"
    description = "Whether the batch is too small to use the machine."
    recommendation = "Use larger batches, or a smaller machine."
    why = "small batches leave the machine idle between their many steps"
    cpu_threshold_p95: float = 70
    gpu_threshold_p95: float = 70
    gpu_memory_threshold_p95: float = 70
    patience: float = 1000
    window: float = 500

    def judge(self, view: View) -> Verdict:
        n, w = len(view.core_numbers), int(self.window)
        if n < patience(self.patience, n) or view.steps is None:
            return Verdict(datapoints=n)
        cpu = float(np.percentile(view.core_numbers[-w:].mean(1), 95))
        details: dict[str, Any] = {"cpu": quantiles(view.core_numbers[-w:].mean(1), p5=5, p50=50, p95=95)}
        pictures = int(np.median(view.steps.pictures))
        if view.has_gpu:
            gpu, memory = (float(np.percentile(v[-w:], 95)) for v in (view.gpus, view.gpu_memory))
            small = gpu < self.gpu_threshold_p95 and memory < self.gpu_memory_threshold_p95
            details |= {"gpu_p95": gpu, "gpu_memory_p95": memory}
        else:
            used = view.samples.of("memory")[1]
            threads = view.profile.facts.get("threads", 1)
            room = bool(len(used)) and float(np.percentile(used, 95)) < self.gpu_memory_threshold_p95
            small = room and threads > view.cores / 2 and view.wait_share < 0.1 and 0 < pictures < 16
        fires = small and cpu < self.cpu_threshold_p95
        found = None
        if fires:
            found = self.finding(
                view,
                f"The machine is used to {cpu:.0f} % (p95 of its cores) by batches of {pictures}.",
                f"try batches of {2 * pictures}; {spelled('advise')} measures it",
                evidence=details,
                change={"parameter": "batch_size", "from": pictures, "to": 2 * pictures},
                confidence="medium",
            )
        return Verdict(int(fires), int(fires), n, details, found)


@dataclass
class GPUMemoryIncrease(ProfileRule):
    """The mean of a window rose by more than ``increase`` points over the window before; of a job on the processor, the
    memory of its processes rises all along."""

    name = "gpu_memory_increase"
    aws = "GPUMemoryIncrease"
    description = "Whether memory grows all along."
    recommendation = "Do not keep tensors with their graph (losses, outputs); use .item() or .detach()."
    why = "the job ends when the memory does"
    increase: float = 5
    patience: float = 1000
    window: float = 10

    def judge(self, view: View) -> Verdict:
        if view.has_gpu:
            return self._of_gpus(view)
        us, values = view.own_samples.of("process", "Memory")
        kept = values[len(values) // 5 :]
        if len(kept) < 6:
            return Verdict(datapoints=len(values))
        means = np.array([part.mean() for part in np.array_split(kept, 5 if len(kept) >= 10 else 3)])
        rise = float(means[-1] - means[0])
        grows = bool((np.diff(means) > 0).all()) and rise > max(_RISE_BYTES, _RISE_SHARE * means[0])
        # What came at once, as when a second loader began, is no leak.
        grows = grows and float(np.diff(means).max()) < 0.7 * rise
        details = {"memory": [round(float(m) / 2**20) for m in means]}
        found = None
        if grows:
            minutes = (us[-1] - us[len(us) // 5]) / 6e7
            found = self.finding(
                view,
                f"The job's memory grew by {rise / 2**20:,.0f} MiB in {minutes:.1f} minutes and goes on growing.",
                "keep no tensors of a step: add loss.item() and not loss to a sum, empty lists after each epoch",
                evidence={"mebibytes": details["memory"]},
                severity="error" if rise > means[0] else "warning",
            )
        return Verdict(int(grows), int((np.diff(means) > 0).sum()), len(values), details, found)

    def _of_gpus(self, view: View) -> Verdict:
        n, w = len(view.gpu_memory), int(self.window)
        if n < max(2 * w, patience(self.patience, n)):
            return Verdict(datapoints=n)
        kernel = np.ones(w) / w
        rises: list[str] = []
        violations = 0
        details: dict[str, Any] = {}
        for i in range(view.gpu_memory.shape[1]):
            means = np.convolve(view.gpu_memory[n // 5 :, i], kernel, "valid")
            steps = means[w:] - means[:-w]
            violations += int((steps > self.increase).sum())
            details[f"gpu{i}"] = quantiles(view.gpu_memory[:, i], p05=5, p50=50, p95=95) | {"increase": self.increase}
            if len(steps) and (steps > self.increase).any() and means[-1] > means[0] + self.increase:
                rises.append(f"gpu{i} from {means[0]:.0f} to {means[-1]:.0f} %")
        found = None
        if rises:
            found = self.finding(view, f"GPU memory grew: {', '.join(rises)}.", self.recommendation[:-1].lower())
        return Verdict(len(rises), violations, n, {NODE: details}, found)


@dataclass
class LoadBalancing(ProfileRule):
    """The histograms of GPUs' utilisation differ by more than ``threshold``; of one device, the work of its loaders'
    workers does."""

    name = "load_balancing"
    aws = "LoadBalancing"
    description = "Whether GPUs, or the workers of a loader, share the work equally."
    recommendation = "Give each the same number of batches of the same cost."
    why = "all wait for the one that has the most to do"
    threshold: float = 0.5
    patience: float = 1000

    def judge(self, view: View) -> Verdict:
        if view.has_gpu and view.gpus.shape[1] > 1:
            return self._of_gpus(view)
        work = {e["worker"]: 0.0 for e in view.profile.loaders if e.get("worker") is not None}
        for entry in view.profile.loaders:
            if entry.get("worker") is not None:
                work[entry["worker"]] += entry["batches"]
        wanted = int(view.loader.get("num_workers") or 0)
        shares = [work.get(i, 0.0) for i in range(max(wanted, len(work)))]
        if len(shares) < 2 or sum(shares) < 8 * len(shares):
            return Verdict(datapoints=int(sum(shares)))
        distance = 1 - min(shares) / max(shares)
        details = {NODE: {"workloads": {f"worker{i}": n for i, n in enumerate(shares)}, "distances": distance}}
        found = None
        if distance > self.threshold:
            idle = shares.index(min(shares))
            found = self.finding(
                view,
                f"Worker {idle} of {len(shares)} fetched {min(shares):.0f} batches, another one {max(shares):.0f}.",
                "share the data equally among the workers (get_worker_info() in an IterableDataset), or use fewer",
                evidence={"batches": shares},
            )
        return Verdict(int(found is not None), int(found is not None), int(sum(shares)), details, found)

    def _of_gpus(self, view: View) -> Verdict:
        n = len(view.gpus)
        loads = [np.histogram(view.gpus[:, i], _BINS)[0] / max(1, n) for i in range(view.gpus.shape[1])]
        distances = {
            f"gpu{i}-gpu{j}": float(np.abs(loads[i] - loads[j]).sum() / 2)
            for i in range(len(loads))
            for j in range(i + 1, len(loads))
        }
        details = {NODE: {"workloads": {f"gpu{i}": v.tolist() for i, v in enumerate(loads)}, "distances": distances}}
        far = [pair for pair, distance in distances.items() if distance > self.threshold]
        if n < patience(self.patience, n) or not far:
            return Verdict(0, len(far), n, details)
        return Verdict(
            1, len(far), n, details, self.finding(view, f"Unequally loaded: {', '.join(far)}.", "balance the batches")
        )
