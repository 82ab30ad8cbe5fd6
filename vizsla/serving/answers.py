"""What the model said, in the form that ``Accept`` asks for."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import orjson

from vizsla.errors import ImageError
from vizsla.serving.faults import RequestError

TOP_CLASSES = 5
"""Classes named in the long JSON form."""

_HEADER_BYTES = 3072
"""nginx gives all headers of an answer 4 KiB by default (proxy_buffer_size)."""

_NUMBERED = re.compile(r"([0-9]+)\.(\D.*)")


@dataclass(frozen=True)
class Answer:
    """The model's answer to one picture: probabilities (classes,) float32, what explains it, if asked, and the warning
    that part of the picture's data is broken, if it is."""

    probabilities: npt.NDArray[np.float32]
    explanation: dict[str, Any] | None = None
    warning: ImageError | None = None


@dataclass(frozen=True)
class Labels:
    """The classes of a model, in order. Where all are numbered, as ``069.French_bulldog`` is, each by a number and a
    name of its own, that one has label ``069`` and name ``French_bulldog``; else a class is its own label and name."""

    classes: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = field(init=False)
    header: str | None = field(init=False)
    """The classes in order as a header can carry them: percent-encoded (RFC 3986), with commas between; None where they
    are too many for one."""

    def __post_init__(self) -> None:
        matches = [match for match in map(_NUMBERED.fullmatch, self.classes) if match]
        told_apart = all(len({match[group] for match in matches}) == len(self.classes) for group in (1, 2))
        pairs = ((match[1], match[2]) for match in matches) if told_apart else ((name, name) for name in self.classes)
        object.__setattr__(self, "pairs", tuple(pairs))
        header = ",".join(quote(name, safe="") for name in self.classes)
        object.__setattr__(self, "header", header if len(header) <= _HEADER_BYTES else None)


def _long(answer: Answer, labels: Labels) -> dict[str, Any]:
    order = np.argsort(-answer.probabilities, kind="stable")[:TOP_CLASSES]
    predictions = [
        {"label": labels.pairs[i][0], "class_name": labels.pairs[i][1], "probability": float(answer.probabilities[i])}
        for i in order
    ]
    document: dict[str, Any] = {
        "predicted_label": predictions[0]["label"],
        "class_name": predictions[0]["class_name"],
        "predictions": predictions,
    }
    if answer.explanation is not None:
        document["explanation"] = answer.explanation
    if answer.warning is not None:
        document["warnings"] = [answer.warning.to_dict()]
    return document


def _json_list(answers: Sequence[Answer], labels: Labels, many: bool) -> bytes:
    rows = [answer.probabilities.tolist() for answer in answers]
    return orjson.dumps(rows if many else rows[0])


def _json_object(answers: Sequence[Answer], labels: Labels, many: bool) -> bytes:
    rows = [_long(answer, labels) for answer in answers]
    return orjson.dumps(rows if many else rows[0])


def _json_lines(answers: Sequence[Answer], labels: Labels, many: bool) -> bytes:
    return b"".join(orjson.dumps(answer.probabilities.tolist()) + b"\n" for answer in answers)


def _csv(answers: Sequence[Answer], labels: Labels, many: bool) -> bytes:
    return b"".join(",".join(map(repr, answer.probabilities.tolist())).encode() + b"\n" for answer in answers)


def _npy(answers: Sequence[Answer], labels: Labels, many: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, np.stack([answer.probabilities for answer in answers]) if many else answers[0].probabilities)
    return file.getvalue()


@dataclass(frozen=True)
class Form:
    """One way to write answers down."""

    content_type: str
    write: Callable[[Sequence[Answer], Labels, bool], bytes]
    explains: bool = False


LIST = Form("application/json", _json_list)
OBJECT = Form("application/json", _json_object, explains=True)
FORMS: dict[str, Form] = {
    "application/json": LIST,
    "application/json;form=list": LIST,
    "application/json;form=object": OBJECT,
    "application/jsonlines": Form("application/jsonlines", _json_lines),
    "application/x-ndjson": Form("application/x-ndjson", _json_lines),
    "text/csv": Form("text/csv", _csv),
    "application/x-npy": Form("application/x-npy", _npy),
}
"""What ``Accept`` may name. A list holds the probabilities in class order; an object names the classes."""

_ANYTHING = frozenset(("*/*", "application/*", ""))


def choose_form(accept: str | None, *, json_asked: bool, explain: bool = False) -> Form:
    """The form that the ``Accept`` header prefers; ``*/*`` gives a list to a picture, an object to JSON. With
    ``explain`` only the object will do, and ``application/json`` means it.

    Raises
    ------
    RequestError
        ``accept`` when none of its media types is offered, or none that can hold an explanation.
    """
    default = OBJECT if json_asked or explain else LIST
    if accept is None or accept in _ANYTHING:
        return default
    for wanted in by_preference(accept):
        if wanted in _ANYTHING:
            return default
        form = OBJECT if explain and wanted == "application/json" else _form(wanted)
        if form and (form.explains or not explain):
            return form
    if explain:
        raise RequestError(
            "accept",
            f"An explanation cannot be written as {accept!r}.",
            where="header Accept",
            allowed=", ".join(["application/json", *(name for name, form in FORMS.items() if form.explains)]),
            do="ask for the object form, or without an explanation",
        )
    raise RequestError(
        "accept",
        f"No answer can be written as {accept!r}.",
        where="header Accept",
        allowed=", ".join(FORMS),
    )


def _form(wanted: str) -> Form | None:
    """The form of a media type, or the first of a range such as ``text/*``."""
    if wanted.endswith("/*"):
        return next((form for name, form in FORMS.items() if name.startswith(wanted[:-1])), None)
    return FORMS.get(wanted)


def by_preference(accept: str) -> list[str]:
    """Media types, most preferred first (RFC 9110, section 12.5.1: quality, then order)."""
    ranked = []
    for position, part in enumerate(accept.split(",")):
        media, *parameters = (piece.strip().lower().replace(" ", "") for piece in part.split(";"))
        quality = 1.0
        form = []
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
            elif parameter.startswith("form="):
                form.append(parameter)
        if quality > 0:
            ranked.append((-quality, position, ";".join([media, *form])))
    return [media for _, _, media in sorted(ranked)]
