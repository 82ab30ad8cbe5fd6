"""What ``evaluate`` is asked, and its document."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vizsla.data import SourceOptions
from vizsla.errors import UsageError
from vizsla.jobs.processing import absolute, document_of

Which = Literal["train", "valid", "test", "all"]
_PLACES = ("model", "data", "against", "training")
WHICH = ("train", "valid", "test", "all")


@dataclass(frozen=True)
class EvaluateRequest:
    """Which model on which pictures.

    ``split`` is one that the data bring, or ``all``; None takes test where the data bring it, else valid, else all,
    less the pictures that the model was trained on. ``against`` is another model, held against this one on the same
    pictures. ``training`` says where the training pictures lie, if the job that made the model is not there any more.
    ``store_temperature`` writes the calibrated temperature into the model.

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

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in WHICH:
            raise UsageError(f"There is no split {self.split!r}.", parameter="split", allowed=", ".join(WHICH))

    def to_document(self) -> dict[str, Any]:
        """The document of the job."""
        values = {name: value for name, value in asdict(self).items() if name not in ("source", "name")}
        values |= {name: absolute(value) for name, value in values.items() if name in _PLACES and value is not None}
        default = asdict(SourceOptions())
        source = {name: value for name, value in asdict(self.source).items() if value != default[name]}
        return document_of(values | ({"source": source} if source else {}))

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> EvaluateRequest:
        """The request in a document."""
        values = dict(document["Parameters"])
        return cls(**values | {"source": SourceOptions(**values.pop("source", {}))})
