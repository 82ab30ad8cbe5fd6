"""What a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator

from vizsla.errors import VizslaError
from vizsla.notebook import Shown
from vizsla.tuning.analytics import TuningAnalytics
from vizsla.tuning.finalists import Verdict
from vizsla.tuning.head_space import effective
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import SearchEnd
from vizsla.tuning.space import Space
from vizsla.tuning.study import Study
from vizsla.tuning.trials import TrialRecord, best, common_failure

COST_UNIT = "pictures trained on"
"""What a head's training costs: epochs times training pictures. Not optimizer steps: a larger batch is no cheaper."""


_Written = Annotated[Space, PlainValidator(Space.of), PlainSerializer(Space.to_dict)]


def winner_of(trials: Sequence[TrialRecord], objective: Objective, job: Path, reason: str) -> TrialRecord:
    """The best trial of a search that has ended, for that ``reason``.

    Raises
    ------
    VizslaError
        When no trial was completed.
    """
    winner = best(trials, objective)
    if winner is not None:
        return winner
    failed = [t for t in trials if t.status == "Failed"]
    if failed:
        example, why = common_failure(failed)
        raise VizslaError(
            f"No trial was completed: {len(failed)} of {len(trials)} failed, {why}",
            where=example.name,
            do="correct that and start a new search",
        )
    raise VizslaError(f"No trial was completed: {reason}.", where=job, do="give more time, or more trials")


@dataclass(frozen=True)
class SearchResult(Shown):
    """What a search found. ``verdict`` is None where no finalist was trained again.

    Examples
    --------
    >>> search = vizsla.tune("photos", trials=20).search  # doctest: +SKIP
    >>> search.hyperparameters()  # doctest: +SKIP
    {'balance': 'none', 'lr': 0.0021, 'weight_decay': 0.0004, 'batch_size': 32}
    >>> search.dataframe()  # doctest: +SKIP
    """

    name: str
    space: _Written
    objective: Objective
    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    verdict: Verdict | None
    reason: str
    importances: dict[str, float]
    seconds: float
    notes: tuple[str, ...] = ()
    cost_unit: str = COST_UNIT

    @classmethod
    def of(
        cls,
        job: Path,
        study: Study,
        end: SearchEnd,
        space: Space,
        objective: Objective,
        notes: list[str],
        cost_unit: str,
    ) -> SearchResult:
        """What the study of the job in the folder ``job`` holds at the search's end, before any finalist.

        Raises
        ------
        VizslaError
            When no trial was completed.
        """
        winner = winner_of(study.trials(), objective, job, end.reason)
        return cls(
            name=job.name,
            space=space,
            objective=objective,
            trials=tuple(study.trials()),
            best=winner,
            verdict=None,
            reason=end.reason,
            importances=study.importances(),
            seconds=end.seconds,
            notes=tuple(notes),
            cost_unit=cost_unit,
        )

    def __repr__(self) -> str:
        value = "" if self.value is None else f" with {self.objective.metric} {self.value:.4g}"
        return (
            f"SearchResult({len(self.trials)} trials, trial {self.winner.number} wins{value}: {self.hyperparameters()})"
        )

    def dataframe(self) -> Any:
        """The trials as a ``pandas.DataFrame``, with the columns of SageMaker's analytics.

        Raises
        ------
        MissingExtraError
            Without pandas.
        """
        return self.analytics().dataframe()

    @property
    def winner(self) -> TrialRecord:
        """The trial that won: the best, or of those tied with it the cheapest."""
        return self.best if self.verdict is None else self.verdict.winner.trial

    @property
    def value(self) -> float | None:
        """The winner's objective: the mean over the finalists' seeds, or the search's own value without them."""
        return self.best.value if self.verdict is None else self.verdict.winner.mean

    def hyperparameters(self) -> dict[str, Any]:
        """The winner's hyperparameters, the static ones too, as :func:`vizsla.fit` and a script take them."""
        values = dict(self.space.static) | dict(self.winner.params)
        return effective(values) if self.cost_unit == COST_UNIT else values

    def analytics(self) -> TuningAnalytics:
        """The trials as a table."""
        return TuningAnalytics(self.name, self.trials, self.space)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobObjective": self.objective.to_dict(),
            "ParameterRanges": self.space.to_dict(),
            "BestTrainingJob": self.winner.to_dict(),
            "BestHyperParameters": self.hyperparameters(),
            "Verdict": None if self.verdict is None else self.verdict.to_dict(),
            "Importances": self.importances,
            "StoppedBecause": self.reason,
            "Seconds": round(self.seconds, 3),
            "Notes": list(self.notes),
            "CostUnit": self.cost_unit,
            "TrainingJobSummaries": [t.to_dict() for t in self.trials],
        }
