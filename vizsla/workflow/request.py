"""What ``fit`` is asked and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import UsageError
from vizsla.evaluation import Evaluation
from vizsla.models.weights import WeightsRequest
from vizsla.training.config import HeadConfig, LbfgsConfig
from vizsla.tuning.request import SearchRequest
from vizsla.tuning.result import SearchResult
from vizsla.workflow.gate import DataRequest


@dataclass(frozen=True)
class FitRequest:
    """What is asked of ``fit``. ``minutes`` bounds the whole job; ``name`` is the job's name, else one is made.
    ``data`` is anything that :func:`vizsla.data.open_dataset` reads; ``source`` says how to read it, ``gate`` what to
    do about what is wrong with it.

    ``tune`` searches for the head's hyperparameters first; ``head`` then says what is not searched.

    Raises
    ------
    UsageError
        When ``minutes`` leaves no time.
    """

    data: Path | str
    backbone: str | None = None
    weights: Path | None = None
    random_init: bool = False
    head: HeadConfig = field(default_factory=LbfgsConfig)
    minutes: float | None = None
    name: str | None = None
    source: SourceOptions = field(default_factory=SourceOptions)
    gate: GateOptions = field(default_factory=GateOptions)
    tune: SearchRequest | None = None

    def __post_init__(self) -> None:
        if not str(self.data).strip():
            raise UsageError(
                "No data set is named: the path is empty.",
                where="parameter data",
                allowed="a folder, table, archive or address",
                do="check that the variable you meant is set",
            )
        if self.minutes is not None and not self.minutes > 0:
            raise UsageError(
                f"minutes={self.minutes!r} leaves no time.",
                where="parameter minutes",
                allowed="a number above 0, such as 5",
            )

    def data_request(self, deadline: float | None = None) -> DataRequest:
        """The data asked for; no picture is looked at after ``deadline`` (``time.monotonic()``).

        Looking for blur and the like would double the time of a first run; that is left to ``vizsla check``.
        """
        return DataRequest(str(self.data), self.source, self.gate, self.head.seed, deadline, with_quality=False)

    def weights_request(self) -> WeightsRequest:
        """The backbone asked for, checked."""
        return WeightsRequest.resolve(self.backbone, self.weights, random_init=self.random_init, seed=self.head.seed)


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` made.

    ``seconds`` is the time of each stage; ``images_per_second`` that of the ``computed`` pictures, which went
    through the backbone (None when all features were in the cache); ``unreached`` counts the pictures that
    ``minutes`` cut off.
    """

    job: Path
    model: Path
    archive: Path
    report: Path
    evaluation: Evaluation
    seconds: dict[str, float]
    images_per_second: float | None
    computed: int
    damaged: tuple[dict[str, str], ...]
    unreached: int
    warnings: tuple[str, ...]
    search: SearchResult | None = None
    """What the search found, where there was one."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla fit --json`` prints."""
        return {
            "job": str(self.job),
            "model": str(self.model),
            "archive": str(self.archive),
            "report": str(self.report),
            "metrics": self.evaluation.to_dict(),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "images_per_second": self.images_per_second and round(self.images_per_second, 1),
            "computed": self.computed,
            "damaged": list(self.damaged),
            "unreached": self.unreached,
            "warnings": list(self.warnings),
            **({} if self.search is None else {"tuning": self.search.to_dict()}),
        }
