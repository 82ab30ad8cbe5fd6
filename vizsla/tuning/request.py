"""What is asked of a search, as plain data that a job keeps and goes on from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from vizsla.errors import UsageError
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective, own_objective
from vizsla.tuning.space import Space
from vizsla.tuning.strategies import EarlyStopping, strategy


@dataclass(frozen=True)
class SearchRequest:
    """A search. ``space`` None is the default one for heads.

    ``seeds`` heads are trained for each trial and their objective averaged; the ``finalists`` best trials are
    trained again with ``finalist_seeds`` seeds (None: four of heads, else none). ``warm_start`` names earlier tuning
    jobs to learn from; ``study``
    is a file or an address for the study, by default in the job's own directory. ``seed`` decides a script's search;
    that of heads has the seed of their training.

    Raises
    ------
    UsageError
        When a value cannot be used.
    """

    space: Space | None = None
    objective: Objective = field(default_factory=lambda: own_objective(None))
    strategy: str = "default"
    limits: SearchLimits = field(default_factory=SearchLimits)
    early_stopping: EarlyStopping = "auto"
    seeds: int = 1
    finalists: int | None = None
    finalist_seeds: int = 5
    warm_start: tuple[str, ...] = ()
    study: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        strategy(self.strategy)
        if self.study is not None and "://" not in self.study:
            # The search may be gone on with from another folder.
            object.__setattr__(self, "study", os.path.abspath(self.study))
        for name, least in (("seeds", 1), ("finalists", 0), ("finalist_seeds", 1)):
            if (getattr(self, name) or 0) < least:
                raise UsageError(
                    f"{name}={getattr(self, name)!r} cannot be used.",
                    parameter=name,
                    allowed=f"a whole number of at least {least}",
                )
        if self.early_stopping not in ("auto", "off"):
            raise UsageError(
                f"There is no early stopping {self.early_stopping!r}.",
                parameter="early_stopping",
                allowed="auto or off",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON in the field names of SageMaker's HyperParameterTuningJobConfig, where it has them."""
        limits = self.limits
        return {
            "Strategy": self.strategy,
            "HyperParameterTuningJobObjective": self.objective.to_dict(),
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": limits.trials,
                "MaxParallelTrainingJobs": limits.max_parallel,
                "MaxRuntimeInSeconds": None if limits.minutes is None else limits.minutes * 60,
            },
            "TrainingJobEarlyStoppingType": self.early_stopping.capitalize(),
            "TuningJobCompletionCriteria": {
                "TargetObjectiveMetricValue": limits.target,
                "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": limits.patience},
            },
            "ParameterRanges": None if self.space is None else self.space.to_dict(),
            "WarmStartConfig": {"ParentHyperParameterTuningJobs": list(self.warm_start)},
            "Seeds": self.seeds,
            "Finalists": self.finalists,
            "FinalistSeeds": self.finalist_seeds,
            "Study": self.study,
            "RandomSeed": self.seed,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> SearchRequest:
        """From :meth:`to_dict`."""
        resources, criteria = document["ResourceLimits"], document["TuningJobCompletionCriteria"]
        seconds, ranges = resources["MaxRuntimeInSeconds"], document["ParameterRanges"]
        return cls(
            space=None if ranges is None else Space.of(ranges),
            objective=Objective.from_dict(document["HyperParameterTuningJobObjective"]),
            strategy=document["Strategy"],
            limits=SearchLimits(
                trials=resources["MaxNumberOfTrainingJobs"],
                max_parallel=resources["MaxParallelTrainingJobs"],
                minutes=None if seconds is None else seconds / 60,
                target=criteria["TargetObjectiveMetricValue"],
                patience=criteria["BestObjectiveNotImproving"]["MaxNumberOfTrainingJobsNotImproving"],
            ),
            early_stopping=document["TrainingJobEarlyStoppingType"].lower(),
            seeds=document["Seeds"],
            finalists=document["Finalists"],
            finalist_seeds=document["FinalistSeeds"],
            warm_start=tuple(document["WarmStartConfig"]["ParentHyperParameterTuningJobs"]),
            study=document["Study"],
            seed=document.get("RandomSeed", 0),
        )
