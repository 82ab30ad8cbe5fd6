"""The rules about threads and cores."""

from __future__ import annotations

from dataclasses import dataclass

from vizsla.profiling.rules.base import ProfileRule, Verdict, View, percent


@dataclass
class ThreadOversubscription(ProfileRule):
    """The training processes, times their threads, and the loaders' workers are over ``threshold`` % of the cores."""

    name = "thread_oversubscription"
    description = "Whether more threads compute than there are cores."
    recommendation = "Let threads times processes be the number of cores."
    why = "threads that wait for one another lose their cores meanwhile"
    threshold: float = 200

    def judge(self, view: View) -> Verdict:
        trains = [s for s in view.profile.processes if s.is_step.any()]
        if not trains or view.steps is None:
            return Verdict()
        threads = [int(s.facts.get("threads") or 1) for s in trains]
        # Those that trained at different times are no load together.
        alive = sum(n for s, n in zip(trains, threads, strict=True) if s.loop[1] > trains[0].loop[0])
        workers = int(view.loader.get("num_workers") or 0)
        share = 100 * (alive + workers) / view.cores
        details = {"threads": threads, "workers": workers, "cores": view.cores}
        if share <= self.threshold:
            return Verdict(0, 0, len(trains), details)
        to = max(1, int(view.cores) // len(trains))
        found = self.finding(
            view,
            f"{alive} threads of {len(trains)} training processes and {workers} workers share {view.cores:g} cores.",
            f"call torch.set_num_threads({to}), or set OMP_NUM_THREADS={to}",
            evidence=details,
            change={"parameter": "threads", "from": max(threads), "to": to},
        )
        return Verdict(1, 1, len(trains), details, found)


@dataclass
class IdleCores(ProfileRule):
    """A job on the processor uses less than ``threshold`` % of its cores, as it has fewer threads."""

    name = "idle_cores"
    description = "Whether cores are idle that could compute."
    recommendation = "Give torch a thread a core."
    why = "the job could use all cores that it was given"
    threshold: float = 60

    def judge(self, view: View) -> Verdict:
        facts = view.profile.facts
        if view.steps is None or facts.get("device") != "cpu" or view.cores < 2 or view.own_cpu != view.own_cpu:
            return Verdict()
        used, threads = view.own_cpu / (100 * view.cores), int(facts.get("threads") or 1)
        busy = view.core_numbers.mean() / 100 if view.core_numbers.size else 0.0
        details = {"used": used, "threads": threads, "cores": view.cores, "machine": busy}
        computes = view.wait_share < 0.5
        if 100 * used >= self.threshold or threads > view.cores / 2 or not computes:
            return Verdict(0, 0, view.step, details)
        to = int(view.cores)
        found = self.finding(
            view,
            f"The job uses {used * view.cores:.1f} of {view.cores:g} cores ({percent(used)}): torch computes in "
            f"{threads} thread{'s' if threads > 1 else ''}.",
            f"call torch.set_num_threads({to}), or set OMP_NUM_THREADS={to}",
            evidence=details,
            change={"parameter": "threads", "from": threads, "to": to},
            confidence="medium",
        )
        return Verdict(1, 1, view.step, details, found)
