"""What ``evaluate`` is asked and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vizsla.data import SourceOptions
from vizsla.errors import UsageError
from vizsla.evaluation import Evaluation
from vizsla.evaluation.insights import Insights
from vizsla.jobs.processing import absolute, document_of
from vizsla.reports.render import fragment_of, percent
from vizsla.workflow.saved_model import locate

REPORT, RESULT, PREDICTIONS = "report.html", "evaluation.json", "predictions.csv"

Which = Literal["train", "valid", "test", "all"]
WHICH = ("train", "valid", "test", "all")


@dataclass(frozen=True)
class EvaluateRequest:
    """Which model on which pictures.

    ``split`` is one that the data bring, or ``all``; None takes test where the data bring it, else valid, else all,
    less the pictures that the model was trained on. ``against`` is another model, held against this one on the same
    pictures. ``training`` says where the training pictures lie, if the job that made the model is not there any more.
    ``store_temperature`` writes the calibrated temperature into the model. ``executor`` says where the pictures are
    looked at: on this machine, or by the cores of a cluster.

    Raises
    ------
    UsageError
        For an unknown split.
    """

    model: str
    data: str
    split: Which | None = None
    against: str | None = None
    training: str | None = None
    store_temperature: bool = False
    source: SourceOptions = field(default_factory=SourceOptions)
    name: str | None = None
    seed: int = 0
    executor: str = "local"

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in WHICH:
            raise UsageError(f"There is no split {self.split!r}.", parameter="split", allowed=", ".join(WHICH))

    def to_document(self) -> dict[str, Any]:
        """The document of the job."""
        values = {name: value for name, value in asdict(self).items() if name not in ("source", "name", "executor")}
        for name, place in (("model", locate), ("against", locate), ("data", str), ("training", str)):
            if values[name] is not None:
                values[name] = absolute(str(place(values[name])))
        default = asdict(SourceOptions())
        source = {name: value for name, value in asdict(self.source).items() if value != default[name]}
        return document_of(values | ({"source": source} if source else {}))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> EvaluateRequest:
        """The request in a document."""
        values = dict(document["Parameters"])
        return cls(**values | {"source": SourceOptions(**values.pop("source", {}))})


@dataclass(frozen=True)
class EvaluateResult:
    """What an evaluation found, and the files that tell it. In a notebook it shows its page.

    ``which`` are the pictures that were measured, in words; ``insights`` what the page says beyond the headline;
    ``calibrated`` a copy of the model with its temperature, where one was asked for; ``notes`` what a reader should
    know.

    Examples
    --------
    >>> result = vizsla.evaluate("runs/train-photos", "new_photos")  # doctest: +SKIP
    >>> result.evaluation.accuracy  # doctest: +SKIP
    Estimate(0.900 [0.868, 0.925])
    """

    job: Path
    report: Path
    model: Path
    data: str
    which: str
    evaluation: Evaluation
    insights: Insights
    calibrated: Path | None
    damaged: tuple[dict[str, str], ...]
    notes: tuple[str, ...]
    seconds: dict[str, float]

    def __repr__(self) -> str:
        accuracy = self.evaluation.accuracy
        interval = f"{percent(accuracy.low)} to {percent(accuracy.high)}"
        return f"EvaluateResult(accuracy {percent(accuracy.value)} ({interval}) on {self.evaluation.n:,} pictures)"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla evaluate --json`` prints."""
        return {
            "job": str(self.job),
            "report": str(self.report),
            "model": str(self.model),
            "data": self.data,
            "pictures": self.which,
            "metrics": self.evaluation.to_dict(),
            "reliability": [
                {"pictures": int(n), "confidence": round(confidence, 6), "accuracy": round(accuracy, 6)}
                for n, confidence, accuracy in self.evaluation.reliability.tolist()
            ],
            **self.insights.to_dict(),
            "calibrated_model": None if self.calibrated is None else str(self.calibrated),
            "damaged": list(self.damaged),
            "notes": list(self.notes),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }
