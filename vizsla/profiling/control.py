"""What is asked of a training while it runs: steps to be looked at, changes to be tried or used. Imports torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import VizslaError
from vizsla.profiling.change import HARMLESS, LOADER, Change, candidates
from vizsla.profiling.config import ProfilerConfig
from vizsla.profiling.loaders import note_training
from vizsla.profiling.loop_settings import LoopSettings, rebuilt
from vizsla.profiling.operators import Window
from vizsla.profiling.probe import RESULT, Probe, Trial, ending_probe, write_trials
from vizsla.profiling.timeline import CONTROL, Timeline

_TRIAL_SECONDS = 120.0


class Control:
    """Reads ``control.json`` of the profile when an epoch begins; what goes wrong is told and changes nothing."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._output, self._job = timeline.output, timeline.output.parents[2]
        self._config = _config(self._job)
        self.loop: LoopSettings | None = None
        """What is done around the outermost calls of modules; None: nothing."""
        self._applied: dict[str, Any] = {}
        self._trains: set[int] = set()
        self._last: Any = None
        self._read_at = 0
        self._has_advised = False
        self._window = None
        if self._config.detail_step is not None:
            self._window = Window(self._output, timeline, self._config.detail_step, self._config.detail_steps)
        self._probe = ending_probe(timeline, LoopSettings())
        if self._probe is not None:
            self.loop = self._probe.loop

    def stepped(self) -> None:
        """An optimizer has made a step."""
        if self._last is not None:
            self._trains.add(id(self._last.dataset))
            note_training(self._last)
            self._last = None
        if self._window is not None:
            self._window()

    def steer(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What a loop that trains draws from an iterator of its own: in it, changes around its calls are tried."""
        self._look(trains=self._timeline.steps > 0)
        if self._probe is not None and not self._probe.finished:
            return self._probe.steps(batches)
        return batches

    def iterate(self, loader: Any, iterate: Callable[[Any], Any]) -> Any:
        """What a loop draws from a loader."""
        self._last = loader
        trains = id(loader.dataset) in self._trains
        self._look(trains)
        if self._probe is not None and not self._probe.finished:
            return self._probe.batches(loader, iterate)
        settings = {name: value for name, value in self._applied.items() if name in LOADER}
        if trains and settings and getattr(loader, "batch_sampler", None) is not None:
            return iterate(rebuilt(loader, list(loader.batch_sampler), settings))
        return iterate(loader)

    def _look(self, trains: bool) -> None:
        try:
            self._read()
            if trains and self._config.advise and not self._has_advised:
                self._advise()
        except Exception as error:  # noqa: BLE001
            print(f"[vizsla] the profiler tries nothing: {error}", file=sys.stderr, flush=True)

    def _read(self) -> None:
        path = self._output / CONTROL
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return
        if changed == self._read_at:
            return
        self._read_at = changed
        asked = json.loads(path.read_bytes())
        self._use([Change.parse(text) for text in asked.get("apply", [])])
        if asked.get("try"):
            changes = [Change.parse(text) for text in asked["try"]]
            self._try(changes, apply=bool(asked.get("apply_gains")))

    def _advise(self) -> None:
        from vizsla.profiling.evaluation import evaluate, findings_of
        from vizsla.profiling.profile import JobProfile

        self._has_advised = True
        self._timeline.flush()
        profile = JobProfile(self._job)
        changes = candidates(profile, findings_of(evaluate(profile)))
        # In a run whose results count, nothing is tried that would change them.
        self._try([change for change in changes if change.parameter in HARMLESS], apply=self._config.advise == "apply")

    def _try(self, changes: Sequence[Change], *, apply: bool) -> None:
        usable = [change for change in changes if change.parameter in HARMLESS and change.parameter != "cached_pixels"]

        def done(trials: list[Trial]) -> None:
            write_trials(self._output / RESULT, trials)
            for trial in trials:
                state = "gains" if trial.gains else "gains nothing"
                words = trial.why or f"x {trial.gain:.2f} ({trial.low:.2f} to {trial.high:.2f})"
                print(f"[vizsla] tried {trial.change}: it {state}, {words}", file=sys.stderr, flush=True)
            if apply:
                self._use([Change.parse(trial.change) for trial in trials if trial.gains])

        if usable:
            self.loop = self.loop or LoopSettings()
            self._probe = Probe(self._timeline, self.loop, usable, done, _TRIAL_SECONDS)

    def _use(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        self._applied |= {change.parameter: change.to for change in changes}
        self.loop = self.loop or LoopSettings()
        self.loop.use({name: value for name, value in self._applied.items() if name not in LOADER})
        told = ", ".join(change.text for change in changes)
        self._timeline.tell(applied=self._applied)
        print(f"[vizsla] the profiler goes on with {told}", file=sys.stderr, flush=True)


def _config(job: Path) -> ProfilerConfig:
    """Of the job; the environment's, where its document cannot be read here."""
    try:
        text = (job / "input" / "config" / "profilerconfig.json").read_bytes()
        return ProfilerConfig.of(json.loads(text))
    except (OSError, ValueError, VizslaError):
        return ProfilerConfig()
