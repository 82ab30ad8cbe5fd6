"""``vizsla explain``: why a saved model says what it says of some pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data.picture_files import picture_files
from vizsla.errors import ImageError, UsageError
from vizsla.evaluation.explanation.activation_map import ActivationMap, activation_map
from vizsla.evaluation.explanation.asking import Composed
from vizsla.evaluation.explanation.explanation import METHODS, Explanation, Method
from vizsla.evaluation.explanation.faithfulness import faithfulness
from vizsla.evaluation.explanation.kernel_shap import kernel_shap
from vizsla.evaluation.explanation.nearest import Neighbours
from vizsla.evaluation.explanation.summary import analysis, summaries
from vizsla.evaluation.explanation.superpixels import superpixels
from vizsla.files import write_bytes, write_json
from vizsla.images import DecodedImage
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.jobs.processing import absolute, document_of
from vizsla.models.artifact import CARD
from vizsla.parameters import spelled
from vizsla.reports.pdf import browser, print_page
from vizsla.reports.render import fragment_of
from vizsla.serving.entry import has_code
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.predictor import Predictor
from vizsla.workflow.saved_model import locate
from vizsla.workflow.subject import AskedSubject, Look, SavedSubject, Subject, saved_subject
from vizsla.workflow.training_set import TrainingSet, find_training_set
from vizsla.workflow.watch import Watch

REPORT, PDF, RESULT, MAPS, ANALYSIS = "report.html", "report.pdf", "explanations.json", "maps", "analysis.json"

Pixels = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExplainRequest:
    """Which model, which pictures, and how.

    ``label`` is the class that is explained, None the one that the model names. ``num_segments``,
    ``segment_compactness`` and ``num_samples`` are SageMaker Clarify's, for ``kernel_shap``; ``baseline`` is a picture
    that stands where a segment is away, None white noise. ``nearest`` training pictures are shown beside each.
    ``output`` is the folder of the results, None that of the job; ``pdf`` prints the page with a browser.

    A model with code of its own is asked by pictures, as Clarify's ``predictor`` says; ``allow_code`` lets it run.

    Raises
    ------
    UsageError
        For an unknown method, or a number that cannot be meant.
    """

    model: str
    images: Sequence[str]
    output: str | None = None
    method: Method = "cam"
    label: str | None = None
    num_segments: int = 20
    segment_compactness: float = 5.0
    num_samples: int = 500
    baseline: str | None = None
    nearest: int = 5
    training: str | None = None
    seed: int = 0
    name: str | None = None
    allow_code: bool = False
    predictor: Mapping[str, Any] | None = None
    pdf: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"There is no method {self.method!r}.", parameter="method", allowed=", ".join(METHODS))
        for name, least in (("num_segments", 2), ("num_samples", 10), ("nearest", 0)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"{name} {getattr(self, name)} is too few.", parameter=name, allowed=f"{least} or more"
                )
        if not self.segment_compactness > 0:
            raise UsageError("Compactness must be above 0.", parameter="segment_compactness", allowed="such as 5")
        if self.baseline is not None and self.method != "kernel_shap":
            raise UsageError(
                "A baseline means something to kernel_shap only.",
                parameter="baseline",
                do=f"add {spelled('method', 'kernel_shap')}, or leave it out",
            )

    def to_document(self) -> dict[str, Any]:
        """The document of the job."""
        values = {name: value for name, value in asdict(self).items() if name != "name"}
        values["model"] = absolute(str(locate(self.model)))
        for name in ("baseline", "training"):
            values[name] = None if values[name] is None else absolute(values[name])
        values["output"] = None if self.output is None else str(Path(self.output).absolute())
        return document_of(values | {"images": [absolute(image) for image in self.images]})

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> ExplainRequest:
        """The request in a document."""
        return cls(**document["Parameters"])


@dataclass(frozen=True)
class ExplainResult:
    """What was explained, and the files that tell it. In a notebook it shows its page."""

    job: Path
    output: Path
    report: Path
    explanations: tuple[Explanation, ...]
    errors: dict[str, ImageError]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"ExplainResult({len(self.explanations):,} pictures, {str(self.report)!r})"

    def _repr_html_(self) -> str | None:
        return fragment_of(self.report)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that ``vizsla explain --json`` prints."""
        return {
            "job": str(self.job),
            "output": str(self.output),
            "report": str(self.report),
            "explanations": [explanation.to_dict() for explanation in self.explanations],
            "errors": {image: error.to_dict() for image, error in self.errors.items()},
            "summary": [one.to_dict(self.explanations) for one in summaries(self.explanations)],
            "notes": list(self.notes),
        }


def explain_model(request: ExplainRequest, observer: Observer | None = None) -> ExplainResult:
    """Explain what a saved model says of pictures, as a job that runs in this process.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong; what is refused leaves no job.
    """
    observer = observer or Silent()
    task = _Explaining(request, observer)
    with running_here("explain", task.subject.path.name, request.to_document(), name=request.name) as job:
        return task.run(job, is_here=True)


def explain_in(job: JobDirectory, observer: Observer) -> ExplainResult:
    """What :func:`explain_model` does, within a job that another process controls.

    Raises
    ------
    VizslaError
        As :func:`explain_model` does.
    """
    return _Explaining(ExplainRequest.from_document(job.document), observer).run(job, is_here=False)


class _Explaining:
    """One run."""

    def __init__(self, request: ExplainRequest, observer: Observer) -> None:
        self.request, self.observer, self.watch = request, observer, Watch(observer, None)
        self.images = picture_files(request.images)
        if request.pdf:
            browser()
        self.subject = _subject(request)
        try:
            self._check()
        except BaseException:
            self.subject.close()
            raise

    def _check(self) -> None:
        """What is refused before there is a job."""
        request, subject = self.request, self.subject
        if request.label is not None and request.label not in subject.classes:
            raise UsageError(
                f"The model has no class {request.label!r}.",
                parameter="label",
                allowed=", ".join(subject.classes[:20]),
            )
        self.baseline = None if request.baseline is None else subject.open(request.baseline)
        self._check_baseline()
        if request.method == "cam":
            size = subject.size or 1
            noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
            self._map(subject.look(noise), 0)

    def run(self, job: JobDirectory, *, is_here: bool) -> ExplainResult:
        """Every picture, and the page."""
        notes, errors, explanations = list[str](), dict[str, ImageError](), list[Explanation]()
        training, neighbours = None, None
        with withdrawn_if_refused(job, is_here=is_here):
            if self.request.nearest and isinstance(self.subject, SavedSubject):
                with self.watch.stage("training set"):
                    training, why = find_training_set(self.subject.model, self.request.training, self.observer)
                if training is None:
                    notes.append(f"No training pictures are shown beside: {why}.")
                else:
                    neighbours = Neighbours.of(training.sight.features)
            with self.watch.stage("explanations", len(self.images)), contextlib.closing(self.subject):
                for done, image in enumerate(self.images, start=1):
                    try:
                        explanations.append(self._explain(image, training, neighbours))
                    except ImageError as error:
                        errors[image] = error
                    self.observer.progress(done, len(self.images))
        for text in notes:
            self.observer.note(text)
        output = job.output if self.request.output is None else Path(self.request.output)
        result = ExplainResult(job.path, output, output / REPORT, tuple(explanations), errors, tuple(notes))
        with self.watch.stage("report"):
            self._write(result, job)
        return result

    def _map(self, look: Look, label: int) -> ActivationMap:
        """Raises :class:`UsageError` where the network has none."""
        assert isinstance(self.subject, SavedSubject)
        assert look.features is not None
        assert look.feature_map is not None
        saved = self.subject.model.saved
        return activation_map(look.features, look.feature_map, saved.head, label, saved.card.backbone.name)

    def _explain(self, image: str, training: TrainingSet | None, neighbours: Neighbours | None) -> Explanation:
        subject, request = self.subject, self.request
        decoded = subject.open(image)
        pixels = subject.pixels(decoded)
        look = subject.look(pixels)
        predicted = int(look.probabilities.argmax())
        label = predicted if request.label is None else subject.classes.index(request.label)
        pieces, values, samples = None, (), 1
        if request.method == "cam":
            found = self._map(look, label)
            evidence, begins, ends = found.evidence, found.bias, found.logit
        else:
            pieces = superpixels(pixels, request.num_segments, request.segment_compactness)
            attribution = kernel_shap(
                lambda masks: subject.answers(Composed(pixels, self._absent(decoded, pixels), pieces, masks)),
                int(pieces.max()) + 1,
                request.num_samples,
                request.seed,
            )
            values = tuple(attribution.values[:, label].tolist())
            evidence = attribution.values[pieces, label]
            begins, ends, samples = float(attribution.base[label]), float(attribution.full[label]), attribution.samples
        judged = faithfulness(
            pixels, evidence, lambda stages: subject.answers(list(stages))[:, label], request.seed, pieces
        )
        near: tuple[tuple[Path, str, float], ...] = ()
        if training is not None and neighbours is not None and look.features is not None:
            near = _nearest(training, neighbours, look.features, subject.classes, request)
        return Explanation(
            image=image,
            label=subject.classes[label],
            predicted=subject.classes[predicted],
            probability=float(look.probabilities[label]),
            method=request.method,
            pixels=pixels,
            evidence=evidence,
            box=subject.box(decoded),
            begins=begins,
            ends=ends,
            faithfulness=judged,
            values=values,
            segments=None if pieces is None else pieces.astype(np.uint16),
            samples=samples,
            nearest=near,
        )

    def _check_baseline(self) -> None:
        """That the baseline fits each picture: before there is a job."""
        size = self.subject.size
        if self.baseline is None or self.baseline.full_size == (size, size):
            return
        given = self.baseline.full_size
        for image in self.images:
            try:
                wanted = self.subject.open(image).full_size
            except ImageError:  # told of when it is explained
                continue
            if given != wanted:
                raise UsageError(
                    f"The baseline is of another size: {given[0]} x {given[1]}, where {image} is {wanted[0]} x "
                    f"{wanted[1]}.",
                    parameter="baseline",
                    allowed="the size of each picture"
                    + (f", or {size} x {size}, which the model sees" if size else ""),
                    do="scale it, or leave it out for white noise",
                )

    def _absent(self, decoded: DecodedImage, pixels: Pixels) -> Pixels:
        """What stands where a segment is away: the baseline, or noise of the seed."""
        if self.baseline is None:
            return np.random.default_rng(self.request.seed).integers(0, 256, pixels.shape, dtype=np.uint8)
        if self.baseline.full_size == decoded.full_size:
            return self.subject.pixels(self.baseline)
        return np.asarray(self.baseline.image)

    def _write(self, result: ExplainResult, job: JobDirectory) -> None:
        from vizsla.reports.explanation import overlay, page

        for at, explanation in enumerate(result.explanations):
            name = f"{at:03}-{Path(explanation.image).stem}.jpg"
            write_bytes(
                result.output / MAPS / name, overlay(explanation.pixels, explanation.evidence), make_folder=True
            )
        write_json(result.output / RESULT, result.to_dict(), make_folder=True)
        if found := summaries(result.explanations):
            write_json(result.output / ANALYSIS, analysis(found), make_folder=True)
        text = page(
            job.name, job.state.created, str(self.subject.path), result.explanations, result.errors, result.notes
        )
        write_bytes(result.report, text.encode("utf-8", "replace"), make_folder=True)
        if self.request.pdf:
            print_page(result.report, result.output / PDF)


def _subject(request: ExplainRequest) -> Subject:
    path = locate(request.model)
    if any((folder / CARD).is_file() for folder in (path, path / "model")) or not has_code(path):
        return saved_subject(request.model)
    if request.method == "cam":
        raise UsageError(
            "The model brings its own code: its maps cannot be seen.",
            where=path,
            parameter="method",
            do=f"choose {spelled('method', 'kernel_shap')}, which asks it",
        )
    predictor = Predictor.of({"content_type": "application/x-image"} | dict(request.predictor or {}))
    return AskedSubject(path, predictor, allow_code=request.allow_code)


def _nearest(
    training: TrainingSet,
    neighbours: Neighbours,
    features: npt.NDArray[np.float32],
    classes: Sequence[str],
    request: ExplainRequest,
) -> tuple[tuple[Path, str, float], ...]:
    rows, cosines = neighbours.nearest(features, request.nearest)
    return tuple(
        (training.sight.files[row], classes[training.labels[row]], round(float(cosine), 6))
        for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    )
