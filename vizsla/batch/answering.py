"""One record to what is written for it: checked, filtered, answered, joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vizsla.batch.document import TransformJob
from vizsla.batch.models import Answering
from vizsla.batch.processing import Processing, join_csv, read_csv, to_bytes, write_csv
from vizsla.batch.records import parse
from vizsla.errors import ImageError, VizslaError
from vizsla.parameters import spelled
from vizsla.serving.faults import RequestError

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Outcome:
    """What a record came to: the bytes that are written, for a table its row, or the error as JSON."""

    content: bytes
    row: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    @classmethod
    def failed(cls, error: VizslaError) -> Outcome:
        """The outcome of a record that has no answer: the error stands in its place."""
        kind = error.kind if isinstance(error, ImageError | RequestError) else "filter"
        words = {"kind": kind, "what": error.what}
        return cls(to_bytes({"error": words}), None, words)


class Answerer:
    """Answers records, from several threads at once. ``most`` is the largest record in bytes.

    Raises
    ------
    UsageError
        Where a filter is none, or cannot be used with the records or the answers.
    """

    def __init__(self, job: TransformJob, model: Answering, most: int) -> None:
        self.threads = model.threads
        self.packs = (
            model.classes is None and job.splits_lines and job.table is None and job.batch_strategy == "MultiRecord"
        )
        """Whether a model's own code gets as many lines at a time as :attr:`most` allows."""
        self.most = job.max_payload_in_mb * MEBIBYTE if job.max_payload_in_mb else most
        self._model = model
        self._content_type = job.content_type
        self._is_table = job.table is not None
        self._processing = Processing.of(job.processing)
        self._is_csv = job.content_type == "text/csv"
        self._is_text = job.splits_lines or job.content_type.startswith(("application/json", "text/"))
        self._to_model = "application/json" if self._content_type == "application/jsonlines" else self._content_type

    def answer_all(self, lines: bytes, count: int) -> Outcome:
        """The outcome of ``count`` records, one a line, sent together.

        Raises
        ------
        RequestError
            When there is no answer, or not one for each.
        """
        pairs = [self._filtered(line) for line in lines.split(b"\n")]
        content, content_type, _ = self._model.answer(b"\n".join(sent for _, sent in pairs), self._content_type)
        answers = content.rstrip(b"\n").split(b"\n")
        if len(answers) != count:
            raise RequestError(
                "code-failed",
                f"The model's code gave {len(answers):,} lines to {count:,} records that were sent together.",
                do=f"answer each line by a line, or {spelled('batch_strategy', 'SingleRecord')}",
            )
        if self._processing.changes_output:
            both = zip(pairs, answers, strict=True)
            answers = [self._written(record, answer, content_type) for (record, _), answer in both]
        return Outcome(b"\n".join(answers))

    def answer(self, body: bytes) -> Outcome:
        """The outcome of one record.

        Raises
        ------
        ImageError, RequestError
            When it has no answer.
        NoMatchError
            When a filter finds nothing.
        """
        if len(body) > self.most or (not body and self._is_text):
            raise RequestError(
                "body-too-large",
                f"The record is larger than {self.most / MEBIBYTE:,.0f} MiB (MaxPayloadInMB).",
            )
        record, sent = self._filtered(body)
        content, content_type, probabilities = self._model.answer(sent, self._to_model)
        if self._processing.changes_output:
            content = self._written(record, content, content_type)
        row = None
        if self._is_table:
            plain = probabilities is not None and not self._processing.changes_output
            row = self._row(np.asarray(probabilities)) if plain else {"output": content.decode("utf-8", "replace")}
        return Outcome(content.rstrip(b"\n") if self._is_text else content, row)

    def _filtered(self, body: bytes) -> tuple[Any, bytes]:
        if not self._is_text or not (self._processing.filters_input or self._processing.joins):
            return None, body
        if self._is_csv:
            row = read_csv(body)
            if not self._processing.filters_input:
                return row, body
            cells = self._processing.sent(row)
            return row, write_csv(cells if isinstance(cells, list) else [cells])
        record = parse(body)
        return record, to_bytes(self._processing.sent(record)) if self._processing.filters_input else body

    def _written(self, record: Any, content: bytes, content_type: str) -> bytes:
        answer: Any
        if content_type.startswith("text/csv"):
            answer = read_csv(content)
        elif "json" in content_type:
            answer = parse(content)
        else:
            raise RequestError(
                "code-failed" if self._model.classes is None else "accept",
                f"An answer of the type {content_type!r:.80} has no parts that could be filtered or joined.",
                allowed="application/json, text/csv",
            )
        if not (self._is_csv and self._processing.joins):
            return to_bytes(self._processing.written(record, answer))
        return join_csv(record, answer if isinstance(answer, list) else [answer], self._processing.output_filter)

    def _row(self, probabilities: Any) -> dict[str, Any]:
        best = int(probabilities.argmax())
        assert self._model.classes is not None
        return {
            "label": self._model.classes[best],
            "probability": float(probabilities[best]),
            "probabilities": np.ascontiguousarray(probabilities),
        }
