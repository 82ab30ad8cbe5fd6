"""A trainer that searches: many heads on the features that are there, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vizsla.jobs.directory import JobDirectory
from vizsla.training.callbacks import Callback
from vizsla.training.config import HeadConfig, StepConfig
from vizsla.training.trained import TrainedHead
from vizsla.training.trainer import Frozen, Training
from vizsla.tuning.finalists import beside_default, judge, retrain_heads
from vizsla.tuning.head_space import check_space, default_space, head_config, head_name
from vizsla.tuning.heads_runner import HeadsRunner
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import COST_UNIT, SearchResult
from vizsla.tuning.space import Value
from vizsla.workflow.observer import Observer
from vizsla.workflow.search import Search, write_result
from vizsla.workflow.study import Problem, open_study

FINALISTS = 4
"""Trials that are trained again, where no other number is asked for."""


class HeadSearch(Search):
    """Searches for a head's hyperparameters and trains the winner.

    Parameters
    ----------
    base:
        What is not searched.
    """

    def __init__(
        self,
        job: JobDirectory,
        base: HeadConfig,
        request: SearchRequest,
        observer: Observer,
        deadline: float | None = None,
    ) -> None:
        super().__init__(job, request, observer, deadline)
        self._base = base

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        """``callback`` is told the winner's epochs only: hundreds of heads train at once.

        Raises
        ------
        VizslaError
            When the space cannot be trained with, the study is another one's, or the trials fail.
        """
        trained, self.result = self._search(frozen)
        for metrics in trained.history:
            callback.on_epoch(metrics, len(trained.history))
        return Training(frozen.backbone, trained)

    def _search(self, frozen: Frozen) -> tuple[TrainedHead, SearchResult]:
        data, base, request, observer = frozen.data, self._base, self._request, self._observer
        space = request.space or default_space()
        member = check_space(base, space)
        fixed = head_config(base, space.static)
        values = fixed.to_dict()
        values.pop("seed", None)  # two searches of one problem may differ in it
        problem = Problem({"data or backbone": frozen.source}, values, lambda values: _canonical(fixed, values))
        epochs = space.largest("epochs") or (member.epochs if isinstance(member, StepConfig) else 1)
        with open_study(request, space, self._job, problem, epochs=epochs, seed=base.seed) as (study, notes):
            runner = HeadsRunner(data, base, request.objective, static=space.static, seeds=request.seeds)
            end = self._run(study, notes, runner)
        result = SearchResult.of(self._job.path, study, end, space, request.objective, notes, COST_UNIT)
        count = FINALISTS if request.finalists is None else request.finalists
        finalists, heads = retrain_heads(
            data,
            fixed,
            study.trials(),
            request.objective,
            count=count or 1,
            seeds=request.finalist_seeds if count else 1,
        )
        verdict = judge(finalists, request.objective, COST_UNIT) if count else None
        winner = finalists[0] if verdict is None else verdict.winner
        trained = next(head for head, f in zip(heads, finalists, strict=True) if f.trial.number == winner.trial.number)
        beside = beside_default(data, trained, request.objective)
        observer.note(beside)
        result = replace(result, verdict=verdict, notes=(*result.notes, beside))
        write_result(self._job, result)
        return trained, result


def _canonical(base: HeadConfig, values: Mapping[str, Value]) -> dict[str, Any]:
    config = head_config(base, values).to_dict()
    return {name: config.get(name) for name in map(head_name, values)}
