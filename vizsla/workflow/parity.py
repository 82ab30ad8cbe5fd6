"""The proof that a model says the same wherever it is asked: evaluation, saved model, endpoint, batch transform."""

from __future__ import annotations

import csv
import http.client
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vizsla.batch.answering import Answerer
from vizsla.batch.document import TransformJob
from vizsla.batch.inputs import Inputs, local_input
from vizsla.batch.models import ALLOW_CODE, open_model
from vizsla.batch.outputs import Folder
from vizsla.batch.run import Run, opened_journal
from vizsla.data.sources import list_source
from vizsla.errors import DataError, ImageError, ModelError
from vizsla.jobs.directory import JobDirectory
from vizsla.models.model import Model, load
from vizsla.serving import check_installed
from vizsla.settings import settings
from vizsla.workflow.document import from_job
from vizsla.workflow.request import PREDICTIONS

PICTURES = 100
LEAST_SAME, LARGEST_DIFFERENCE = 0.999, 1e-4
"""What is asked for: the same first class for this share of the pictures, probabilities within this of each other."""
_SHOWN = 5


@dataclass(frozen=True)
class HeldOut:
    """A picture that training has not seen, and what its evaluation said of it: the class and its probability."""

    path: Path
    label: str | None = None
    probability: float | None = None


@dataclass
class Proof:
    """What the proof found. ``same`` is the share of pictures with the same first class everywhere, ``largest`` the
    largest difference between two probabilities; ``differing`` says which pictures were more apart than allowed."""

    parties: list[str]
    pictures: int
    same: float = 1.0
    largest: float = 0.0
    differing: list[str] = field(default_factory=list)
    answers: dict[str, list[Any]] = field(default_factory=dict, repr=False)

    @property
    def holds(self) -> bool:
        """Whether all say the same."""
        return self.same >= LEAST_SAME and self.largest <= LARGEST_DIFFERENCE

    def check(self) -> Proof:
        """Return the proof, if it holds.

        Raises
        ------
        ModelError
            Naming the pictures that differ.
        """
        if self.holds:
            return self
        shown = "; ".join(self.differing[:_SHOWN])
        raise ModelError(
            f"The model does not say the same everywhere ({', '.join(self.parties)}): {len(self.differing):,} of "
            f"{self.pictures:,} pictures differ. {shown}{' ...' if len(self.differing) > _SHOWN else ''}",
            allowed=f"the same first class for {LEAST_SAME:.1%}, probabilities within {LARGEST_DIFFERENCE:g}",
            do="train the model again with this version; pictures that have changed since the training differ, too",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"parties": self.parties, "pictures": self.pictures, "same": self.same, "largest": self.largest}


def held_out(job: JobDirectory, most: int = PICTURES) -> list[HeldOut]:
    """Test pictures of a training, spread over all of them, with what its evaluation said.

    Raises
    ------
    DataError
        When they are gone, or the job has no evaluation.
    """
    table = job.output / PREDICTIONS
    if not table.is_file():
        raise DataError(
            "The job left no evaluation whose pictures could prove the model.",
            where=job.path,
            do="name a folder of pictures that training has not seen",
        )
    request = from_job(job.document)
    root = list_source(request.data, request.source).root
    with open(table, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
    found = [HeldOut(root / row["path"], row["predicted"], float(row["probability"])) for row in chosen]
    if gone := [picture for picture in found if not picture.path.is_file()]:
        raise DataError(
            f"{len(gone):,} of {len(found):,} held-out pictures are gone, such as {gone[0].path}.",
            where=job.path,
            do="put the data set back, or name a folder of other pictures that training has not seen",
        )
    return found


def prove(model: Path, pictures: Sequence[HeldOut], *, has_code: bool, allow_code: bool = False) -> Proof:
    """Ask for each picture wherever a model is asked; compare.

    Parameters
    ----------
    model:
        The saved model's folder or archive.
    has_code:
        Whether it brings its own code: then there is no saved model to ask beside it.

    Raises
    ------
    VizslaError
        When it cannot be asked.
    """
    paths = [picture.path for picture in pictures]
    answers: dict[str, list[Any]] = {}
    classes: tuple[str, ...] = ()
    if not has_code:
        classes = load(model).classes
        answers["saved model"] = saved_model(model, paths)
    answers["endpoint"] = _endpoint(model, paths, allow_code)
    answers["batch transform"] = _transform(model, paths, allow_code)
    return compare(pictures, answers, classes)


def compare(pictures: Sequence[HeldOut], answers: dict[str, list[Any]], classes: tuple[str, ...]) -> Proof:
    """Compare what several parties said of pictures, the first one's answers with each other's, and with the
    evaluation's where that is known. ``classes`` is empty where answers are not probabilities in a known order."""
    evaluated = bool(classes) and any(picture.label is not None for picture in pictures)
    proof = Proof([*(["evaluation"] if evaluated else []), *answers], len(pictures), answers=answers)
    same = 0
    for at, picture in enumerate(pictures):
        same += _compare(proof, picture, {name: given[at] for name, given in answers.items()}, classes)
    proof.same = same / max(1, len(pictures))
    return proof


def saved_model(path: Path, pictures: Sequence[Path]) -> list[Any]:
    """What the model itself says of pictures."""
    model = load(path)
    return [_directly(model, picture) for picture in pictures]


def _directly(model: Model, path: Path) -> Any:
    try:
        return model.probabilities(path.read_bytes()).tolist()
    except ImageError as error:  # that one has no answer is an answer
        return {"error": error.kind}


def _compare(proof: Proof, picture: HeldOut, said: dict[str, Any], classes: tuple[str, ...]) -> bool:
    """Note what the parties say differently of a picture; whether their first classes are the same."""
    (first, reference), *others = said.items()
    words, apart = [], 0.0
    for name, answer in others:
        difference = _difference(reference, answer)
        apart = max(apart, difference)
        if difference > LARGEST_DIFFERENCE:
            words.append(f"{first} {_shown(reference, classes)}, {name} {_shown(answer, classes)}")
    tops = {json.dumps(_top(answer)) for answer in said.values()}
    if picture.label is not None and picture.probability is not None and classes and isinstance(reference, list):
        place = classes.index(picture.label) if picture.label in classes else 0
        tops.add(json.dumps(place))
        apart = max(apart, abs(reference[place] - picture.probability))
        if abs(reference[place] - picture.probability) > LARGEST_DIFFERENCE or _top(reference) != place:
            words.append(f"evaluation {picture.label} {picture.probability:.4f}, {first} {_shown(reference, classes)}")
    proof.largest = max(proof.largest, apart)
    if words or len(tops) > 1:
        proof.differing.append(f"{picture.path}: {' and '.join(words) or 'other first classes'}")
    return len(tops) == 1


def _difference(one: Any, other: Any) -> float:
    """The largest difference between the numbers of two answers of the same shape; 1 where they have not the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return float(one is not other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(_difference, one, other), default=0.0)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((_difference(one[key], other[key]) for key in one), default=0.0)
    return float(one != other)


def _top(answer: Any) -> Any:
    return int(np.argmax(answer)) if isinstance(answer, list) and answer and not isinstance(answer[0], list) else None


def _shown(answer: Any, classes: tuple[str, ...]) -> str:
    top = _top(answer)
    return f"{classes[top]} {answer[top]:.4f}" if top is not None and classes else json.dumps(answer)[:80]


def _endpoint(model: Path, paths: Sequence[Path], allow_code: bool) -> list[Any]:
    """Ask a real server on this machine."""
    check_installed()
    from vizsla.serving.endpoint import Endpoint
    from vizsla.serving.server import ServeOptions
    from vizsla.serving.shelves import NamedShelf

    options = ServeOptions(
        shelf=NamedShelf({"model": model}),
        pinned=("model",),
        port=0,
        allow_code=allow_code,
        log_requests=False,
        log=False,
        max_payload=settings().max_image_bytes,
    )
    answers = []
    with Endpoint(options) as endpoint:
        connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"), timeout=120)
        for path in paths:
            connection.request("POST", "/invocations", path.read_bytes(), {"Content-Type": "application/x-image"})
            response = connection.getresponse()
            body = response.read()
            answers.append(_parsed(body) if response.status == 200 else {"error": json.loads(body).get("ErrorCode")})
        connection.close()
    return answers


def _transform(model: Path, paths: Sequence[Path], allow_code: bool) -> list[Any]:
    """Run a real batch transform."""
    job = TransformJob.read(
        {
            "ModelName": str(model),
            "Environment": {ALLOW_CODE: "1" if allow_code else "0"},
            "TransformInput": {"DataSource": {"S3DataSource": {"S3Uri": "the held-out pictures"}}},
        }
    )
    inputs = Inputs("the held-out pictures", len(paths), lambda: (local_input(f"{i}", p) for i, p in enumerate(paths)))
    opened = open_model(job, model, settings().threads)
    try:
        with tempfile.TemporaryDirectory() as place, opened_journal(Path(place) / "journal.jsonl") as journal:
            output = Folder(Path(place) / "output")
            answerer = Answerer(job, opened, settings().max_image_bytes)
            Run(answerer, journal, output, Path(place) / "parts", lines=False).run(inputs)
            answers = [_parsed(output.place(f"{i}").read_bytes()) for i in range(len(paths))]
    finally:
        opened.close()
    return [
        {"error": answer["error"]["kind"]} if isinstance(answer, dict) and "error" in answer else answer
        for answer in answers
    ]


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
