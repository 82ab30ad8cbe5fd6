"""What of a record goes to the model, and what of the record and the answer is written: SageMaker's DataProcessing.

Developer guide, "Associate Prediction Results with Input Records": the answer joins a JSON object as
``SageMakerOutput``; what is no object becomes ``SageMakerInput`` beside it; a row of CSV is lengthened.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import orjson

from vizsla.batch.document import DataProcessing
from vizsla.batch.jsonpath import MISSING, JsonPath
from vizsla.errors import UsageError
from vizsla.parameters import spelled
from vizsla.serving.faults import RequestError

INPUT, OUTPUT = "SageMakerInput", "SageMakerOutput"


class NoMatchError(UsageError):
    """A filter that finds nothing in a record."""


@dataclass(frozen=True)
class Processing:
    """The filters and the join of a job.

    Examples
    --------
    >>> join = Processing.of(DataProcessing(join_source="Input", output_filter="$['id','SageMakerOutput']"))
    >>> join.written({"id": 7, "image": "..."}, [0.1, 0.9])
    {'id': 7, 'SageMakerOutput': [0.1, 0.9]}
    """

    input_filter: JsonPath
    output_filter: JsonPath
    joins: bool

    @classmethod
    def of(cls, asked: DataProcessing) -> Processing:
        """Read the filters.

        Raises
        ------
        UsageError
            Where one is no JSONPath.
        """
        return cls(
            JsonPath.parse(asked.input_filter, "input_filter"),
            JsonPath.parse(asked.output_filter, "output_filter"),
            asked.join_source == "Input",
        )

    @property
    def filters_input(self) -> bool:
        """Whether the model gets a part of the record only."""
        return bool(self.input_filter.steps)

    @property
    def changes_output(self) -> bool:
        """Whether something else than the model's answer is written."""
        return self.joins or bool(self.output_filter.steps)

    def sent(self, record: Any) -> Any:
        """What of a record goes to the model.

        Raises
        ------
        NoMatchError
            When the filter finds nothing.
        """
        return _matched(self.input_filter, record, "input_filter")

    def written(self, record: Any, answer: Any) -> Any:
        """What is written for a record, given the model's answer to it.

        Raises
        ------
        NoMatchError
            When the filter finds nothing.
        """
        if not self.joins:
            joined = answer
        elif isinstance(record, dict):
            joined = record | {OUTPUT: answer}
        else:
            joined = {INPUT: record, OUTPUT: answer}
        return _matched(self.output_filter, joined, "output_filter")


def _matched(path: JsonPath, document: Any, parameter: str) -> Any:
    found = path.find(document)
    if found is MISSING:
        there = f"a record with {', '.join(map(repr, document))}" if isinstance(document, dict) else _shape(document)
        raise NoMatchError(
            f"The filter {path.text!r} matches nothing in the record.",
            parameter=parameter,
            allowed=f"a path into {there}",
        )
    return found


def _shape(document: Any) -> str:
    return f"a list of {len(document):,}" if isinstance(document, list) else repr(document)[:80]


def read_csv(text: bytes) -> list[str]:
    """The cells of one row.

    Raises
    ------
    RequestError
        ``body-malformed`` where there are several.
    """
    rows = [row for row in csv.reader(io.StringIO(text.decode("utf-8", "replace"))) if row]
    if len(rows) > 1:
        raise RequestError(
            "body-malformed",
            f"There are {len(rows):,} rows, where one belongs to a record.",
            do=f"split the input into its lines: {spelled('split_type', 'Line')}",
        )
    return rows[0] if rows else []


def write_csv(cells: list[Any]) -> bytes:
    """A row of cells, without a line break."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        [c if isinstance(c, str | int | float) else json.dumps(c) for c in cells]
    )
    return text.getvalue().encode()


def join_csv(row: list[str], answer: list[Any], path: JsonPath) -> bytes:
    """A row with the answer's cells behind its own, and of them what the filter asks for by place. A cell that is
    neither text nor a number is JSON."""
    cells = [*row, *answer]
    found = _matched(path, cells, "output_filter") if path.steps else cells
    return write_csv(found if isinstance(found, list) else [found])


def to_bytes(value: Any) -> bytes:
    """JSON on one line."""
    return orjson.dumps(value)
