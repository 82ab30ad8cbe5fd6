"""The model that an analysis asks, as Clarify asks a shadow of an endpoint: the same bytes in, its answers read by what
the configuration's ``predictor`` says.

Source: the SageMaker developer guide, "Configure the Analysis", ``predictor``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.batch.document import TransformJob, is_picture
from vizsla.batch.jsonpath import MISSING, JsonPath
from vizsla.batch.models import ALLOW_CODE, open_model
from vizsla.errors import DataError, ImageError
from vizsla.serving.faults import RequestError
from vizsla.settings import settings

_SHOWN = 120


@dataclass(frozen=True)
class Predictor:
    """How a model is asked, and where in an answer the prediction is: ``label`` and ``probability`` are an index, or a
    path such as ``predictions[0].label``. ``label_headers`` name the probabilities in their order."""

    content_type: str = "text/csv"
    accept: str | None = None
    content_template: str | None = None
    label: int | str | None = None
    probability: int | str | None = None
    label_headers: tuple[str, ...] = ()

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> Predictor:
        """Read the section of a configuration; which model it names is the affair of who calls."""
        headers = section.get("label_headers") or ()
        return cls(
            str(section.get("content_type") or "text/csv"),
            section.get("accept_type"),
            section.get("content_template"),
            section.get("label"),
            section.get("probability"),
            tuple(map(str, [headers] if isinstance(headers, str) else headers)),
        )

    @property
    def takes_pictures(self) -> bool:
        """Whether a body is a picture's own bytes."""
        return is_picture(self.content_type)

    def prediction(self, answer: Any, classes: Sequence[str], threshold: float) -> Any:
        """The label that an answer says: the one at ``label``, the name of the largest score, 0 or 1 for a score alone.

        Raises
        ------
        DataError
            When nothing is there.
        """
        if self.probability is None and self.label is not None:
            return _one(_at(answer, self.label))
        value = _one(answer if self.probability is None else _at(answer, self.probability))
        if isinstance(value, list):
            scores = _scores(value)
            named = _at(answer, self.label) if self.label is not None else classes
            best = scores.index(max(scores))
            return named[best] if isinstance(named, Sequence) and len(named) == len(scores) else best
        return int(float(value) > threshold) if self.probability is not None else value

    def scores(self, answer: Any) -> list[float]:
        """The score of each class that an answer holds.

        Raises
        ------
        DataError
            When they are not numbers.
        """
        value = _one(answer if self.probability is None else _at(answer, self.probability))
        return _scores(value if isinstance(value, list) else [value])


class AskedModel:
    """A model, a saved one or one with code of its own, that answers bodies.

    Raises
    ------
    ModelError
        When there is none, or it is damaged.
    UsageError
        When it brings its own code, and that is not allowed.
    """

    def __init__(self, path: Path, predictor: Predictor, *, allow_code: bool) -> None:
        self.predictor = predictor
        document = {
            "ModelName": str(path),
            "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "the analysis"}}},
            "TransformOutput": {} if predictor.accept is None else {"Accept": predictor.accept},
        }
        if allow_code:
            document["Environment"] = {ALLOW_CODE: "1"}
        self._model = open_model(TransformJob.read(document), path, settings().threads)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes by name, in the order of the scores; empty where nothing says them."""
        return self.predictor.label_headers or self._model.classes or ()

    def ask(self, bodies: Sequence[bytes]) -> list[Any]:
        """The answers, read.

        Raises
        ------
        DataError
            When one has no answer that can be read.
        """
        with ThreadPoolExecutor(self._model.threads) as pool:
            return list(pool.map(self._ask, range(1, len(bodies) + 1), bodies))

    def _ask(self, number: int, body: bytes) -> Any:
        try:
            answer, _, probabilities = self._model.answer(body, self.predictor.content_type)
            return read_answer(answer) if probabilities is None else probabilities.tolist()
        except (ImageError, RequestError) as error:
            raise DataError(
                f"The model has no answer to record {number}, sent as {self.predictor.content_type}: {error.what}",
                do="check the predictor's content_type, and what the model's code takes",
            ) from error

    def close(self) -> None:
        """Let go of the model."""
        self._model.close()


def read_answer(answer: bytes) -> Any:
    """An answer to one record, of JSON or of a line of CSV, out of the lists that hold it alone.

    Raises
    ------
    DataError
        When it is no text.

    Examples
    --------
    >>> read_answer(b"[[0.25, 0.75]]"), read_answer(b"rose,0.75")
    ([0.25, 0.75], ['rose', 0.75])
    """
    try:
        text = answer.decode()
    except ValueError as error:
        raise DataError(
            "The model's answer is neither JSON nor CSV.",
            allowed="application/json, application/jsonlines or text/csv",
            do="name one of them as the predictor's accept_type",
        ) from error
    try:
        return _one(json.loads(text))
    except ValueError:
        return _one([_number(cell.strip()) for cell in text.strip().split("\n")[0].split(",")])


def _one(value: Any) -> Any:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _scores(values: Sequence[Any]) -> list[float]:
    if not all(isinstance(value, int | float) for value in values):
        raise DataError(
            f"The model's answer holds no scores: {json.dumps(values)[:_SHOWN]}",
            do="say where they are by ModelPredictedLabelConfig(probability=...), or where the label is",
        )
    return [float(value) for value in values]


def _at(answer: Any, place: int | str) -> Any:
    if isinstance(place, int):
        row = answer if isinstance(answer, list) else [answer]
        found = row[place] if -len(row) <= place < len(row) else MISSING
    else:
        found = JsonPath.parse(f"$.{place}").find(answer)
    if found is MISSING:
        raise DataError(
            f"The model's answer has nothing at {place!r}: {json.dumps(answer)[:_SHOWN]}",
            do="correct label or probability of the predictor",
        )
    return found
