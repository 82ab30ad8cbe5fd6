"""A trainer that searches among trainings of the backbone, and keeps the best of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from vizsla.jobs.directory import JobDirectory
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings
from vizsla.training.callbacks import Callback
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.trainer import Frozen, Training
from vizsla.tuning.fine_tuning_space import BACKBONE, backbones, fine_tune_config
from vizsla.tuning.head_space import head_name
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult
from vizsla.tuning.space import Space, Value
from vizsla.workflow.observer import Observer
from vizsla.workflow.search import Search, write_result
from vizsla.workflow.study import Problem, open_study

if TYPE_CHECKING:
    from vizsla.training.fine_tuning.launcher import Launcher
    from vizsla.training.fine_tuning.session import Session
    from vizsla.tuning.cluster_fine_tuning import Origin
    from vizsla.tuning.fine_tuning_runner import FineTuningRunner

COST_UNIT = "seconds"


class FineTuningSearch(Search):
    """Searches for the hyperparameters of a training that reaches into the backbone; started again in the same job, it
    goes on. Where the best one has gained nothing that the validation pictures bear out, the frozen backbone stays.

    Parameters
    ----------
    base:
        What is not searched.
    specs:
        The backbones that trials begin with, as many as the space names, or the one of all.
    frozen_of:
        What a trainer begins with, of a backbone.
    launcher:
        Who starts the processes of a trial that is shared by several.
    executor:
        Where trials run: ``local``, or a cluster, on which they run side by side unless several processes share each.
    deadline:
        A moment of ``time.monotonic()``.
    """

    def __init__(
        self,
        job: JobDirectory,
        base: FineTuneConfig,
        request: SearchRequest,
        specs: Sequence[BackboneSpec],
        frozen_of: Callable[[BackboneSpec], Frozen],
        pictures: Pictures,
        observer: Observer,
        launcher: Callable[[], Launcher],
        executor: str,
        deadline: float | None = None,
    ) -> None:
        super().__init__(job, request, observer, deadline)
        self._executor = executor
        self._base, self._specs, self._frozen_of, self._pictures = base, specs, frozen_of, pictures
        self._launcher = launcher

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        base, request, observer = self._base, self._request, self._observer
        space = request.space
        assert space is not None
        spec_of = dict(zip(backbones(space) or (None,), self._specs, strict=True))

        @cache
        def session_of(name: str | None) -> Session:
            return self._session(spec_of[name])

        values = fine_tune_config(base, space.static).to_dict()
        values.pop("seed", None)  # two searches of one problem may differ in it
        problem = Problem({"data or backbone": frozen.source}, values, lambda values: _canonical(base, values))
        epochs = space.largest("epochs") or base.resolved().epochs or 1
        with contextlib.closing(self._runner(lambda name: self._origin(spec_of[name]), session_of, space)) as runner:
            with open_study(request, space, self._job, problem, epochs=epochs, seed=base.seed) as (study, notes):
                end = self._run(study, notes, runner)
            self.result = SearchResult.of(self._job.path, study, end, space, request.objective, notes, COST_UNIT)
            write_result(self._job, self.result)
            name = (dict(space.static) | dict(self.result.winner.params)).get(BACKBONE)
            session = session_of(None if name is None else str(name))
            best = runner.trained(self.result.winner)
        for metrics in best.head.history:
            callback.on_epoch(metrics, len(best.head.history))
        gain = Gain.of(session.logits, best.logits, session.labels, len(self.result.trials))
        observer.note(f"The best trial beside the frozen backbone: {gain.words}{_chosen(len(self.result.trials))}")
        session.weights = best.weights
        training = session.result(best.head if gain.kept else session.start, best.head.history)
        return replace(training, began=session.spec)

    def _runner(
        self,
        origin_of: Callable[[str | None], Origin],
        session_of: Callable[[str | None], Session],
        space: Space,
    ) -> FineTuningRunner:
        """Who trains the trials: this process one after another, or a cluster that shares the job's folder."""
        from vizsla.tuning.cluster_fine_tuning import ClusterRunner
        from vizsla.tuning.fine_tuning_runner import FineTuningRunner

        arguments = session_of, self._base, self._request.objective, self.folder
        more: dict[str, Any] = {"static": space.static, "deadline": self._deadline, "note": self._observer.note}
        is_shared = (fine_tune_config(self._base, space.static).processes or 1) > 1
        if self._executor.partition("://")[0] != "ray" or is_shared or settings().bucket is not None:
            return FineTuningRunner(*arguments, **more)
        self._observer.stage("trials", self._request.limits.trials)
        return ClusterRunner(self._executor, origin_of, *arguments, **more)

    def _origin(self, spec: BackboneSpec) -> Origin:
        """A backbone and what it trains on."""
        from vizsla.tuning.cluster_fine_tuning import Origin

        return Origin(spec, self._frozen_of(spec), self._pictures, self._base.balance, self._base.seed)

    def _session(self, spec: BackboneSpec) -> Session:
        callback = _FirstStores(self._observer, self._request.limits.trials)
        note = self._observer.note
        return self._origin(spec).session(self._launcher(), threads=settings().threads, callback=callback, note=note)

    def clear(self) -> None:
        from vizsla.tuning.fine_tuning_runner import CHECKPOINTS

        for path in self.folder.glob(CHECKPOINTS):
            path.unlink(missing_ok=True)


class _FirstStores(Callback):
    """Shows the phases before a trial's first step, once: later trials find what the first one has left."""

    def __init__(self, observer: Observer, trials: int) -> None:
        self._observer, self._trials = observer, trials
        self._seen: set[str] = set()

    def on_phase(self, name: str, total: int | None) -> None:
        if name not in self._seen:
            self._seen.add(name)
            known = name != "epochs"
            self._observer.stage(name if known else "trials", total if known else self._trials)


def _chosen(trials: int) -> str:
    """What an interval does not know of the best of several."""
    return f" It is the best of {trials} on these same pictures: expect less on others." if trials > 1 else ""


def _canonical(base: FineTuneConfig, values: Mapping[str, Value]) -> dict[str, Any]:
    config = fine_tune_config(base, values).to_dict()
    return {name: config.get(name, values.get(name)) for name in map(head_name, values)}
