"""``vizsla explain``: why a saved model says what it says of some pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.data.picture_files import picture_files
from vizsla.errors import ImageError, UsageError
from vizsla.evaluation.explanation.activation_map import activation_map
from vizsla.evaluation.explanation.asking import Composed, Pictures, answers
from vizsla.evaluation.explanation.explanation import METHODS, Explanation, Method
from vizsla.evaluation.explanation.faithfulness import faithfulness
from vizsla.evaluation.explanation.kernel_shap import kernel_shap
from vizsla.evaluation.explanation.nearest import Neighbours
from vizsla.evaluation.explanation.summary import analysis, summaries
from vizsla.evaluation.explanation.superpixels import superpixels
from vizsla.files import write_bytes, write_json
from vizsla.images import DecodedImage, Limits, read_file
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.jobs.processing import absolute, document_of
from vizsla.parameters import spelled
from vizsla.reports.render import fragment_of
from vizsla.settings import settings
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.saved_model import OpenModel, locate
from vizsla.workflow.training_set import TrainingSet, find_training_set
from vizsla.workflow.watch import Watch

REPORT, RESULT, MAPS, ANALYSIS = "report.html", "explanations.json", "maps", "analysis.json"

Pixels = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExplainRequest:
    """Which model, which pictures, and how.

    ``label`` is the class that is explained, None the one that the model names. ``num_segments``,
    ``segment_compactness`` and ``num_samples`` are SageMaker Clarify's, for ``kernel_shap``; ``baseline`` is a picture
    that stands where a segment is away, None white noise. ``nearest`` training pictures are shown beside each.
    ``output`` is the folder of the results, None that of the job.

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
    with running_here("explain", task.model.path.name, request.to_document(), name=request.name) as job:
        return task.run(job)


def explain_in(job: JobDirectory, observer: Observer) -> ExplainResult:
    """What :func:`explain_model` does, within a job that another process controls.

    Raises
    ------
    VizslaError
        As :func:`explain_model` does.
    """
    return _Explaining(ExplainRequest.from_document(job.document), observer).run(job)


class _Explaining:
    """One run."""

    def __init__(self, request: ExplainRequest, observer: Observer) -> None:
        self.request, self.observer, self.watch = request, observer, Watch(observer, None)
        self.limits, self.threads = Limits.from_settings(), settings().threads
        self.images = picture_files(request.images)
        self.model = OpenModel.of(request.model)
        if request.label is not None and request.label not in self.model.classes:
            raise UsageError(
                f"The model has no class {request.label!r}.",
                parameter="label",
                allowed=", ".join(self.model.classes[:20]),
            )
        self.baseline = None if request.baseline is None else self._open(request.baseline)
        self._check_baseline()
        if request.method == "cam":  # refused before there is a job
            size = self.model.saved.card.preprocessing.size
            noise = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
            outputs = self.model.engine.features_and_map(noise)
            activation_map(*outputs, self.model.saved.head, 0, self.model.saved.card.backbone.name)

    def run(self, job: JobDirectory) -> ExplainResult:
        """Every picture, and the page."""
        notes, errors, explanations = list[str](), dict[str, ImageError](), list[Explanation]()
        training, neighbours = None, None
        with withdrawn_if_refused(job):
            if self.request.nearest:
                with self.watch.stage("training set"):
                    training, why = find_training_set(self.model, self.request.training, self.observer)
                if training is None:
                    notes.append(f"No training pictures are shown beside: {why}.")
                else:
                    neighbours = Neighbours.of(training.sight.features)
            with self.watch.stage("explanations", len(self.images)):
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

    def _open(self, image: str) -> DecodedImage:
        data = read_file(image, self.limits)
        return self.model.saved.preprocessing.open(data, self.limits)

    def _explain(self, image: str, training: TrainingSet | None, neighbours: Neighbours | None) -> Explanation:
        model, request = self.model, self.request
        decoded = self._open(image)
        preprocessing, head = model.saved.preprocessing, model.saved.head
        pixels = preprocessing.apply(decoded.image, decoded.full_size)
        features, feature_map = model.engine.features_and_map(pixels[None])
        probabilities = head.probabilities(features)[0]
        predicted = int(probabilities.argmax())
        label = predicted if request.label is None else model.classes.index(request.label)
        pieces, values, samples = None, (), 1
        if request.method == "cam":
            found = activation_map(features, feature_map, head, label, model.saved.card.backbone.name)
            evidence, begins, ends = found.evidence, found.bias, found.logit
        else:
            pieces = superpixels(pixels, request.num_segments, request.segment_compactness)
            attribution = kernel_shap(
                lambda masks: self._answers(Composed(pixels, self._absent(decoded, pixels), pieces, masks)),
                int(pieces.max()) + 1,
                request.num_samples,
                request.seed,
            )
            values = tuple(attribution.values[:, label].tolist())
            evidence = attribution.values[pieces, label]
            begins, ends, samples = float(attribution.base[label]), float(attribution.full[label]), attribution.samples
        judged = faithfulness(
            pixels, evidence, lambda stages: self._answers(list(stages))[:, label], request.seed, pieces
        )
        near = (
            () if training is None or neighbours is None else _nearest(training, neighbours, features, model, request)
        )
        return Explanation(
            image=image,
            label=model.classes[label],
            predicted=model.classes[predicted],
            probability=float(probabilities[label]),
            method=request.method,
            pixels=pixels,
            evidence=evidence,
            box=preprocessing.box(decoded.full_size),
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
        size = self.model.saved.card.preprocessing.size
        if self.baseline is None or self.baseline.full_size == (size, size):
            return
        given = self.baseline.full_size
        for image in self.images:
            try:
                wanted = self._open(image).full_size
            except ImageError:  # told of when it is explained
                continue
            if given != wanted:
                raise UsageError(
                    f"The baseline is of another size: {given[0]} x {given[1]}, where {image} is {wanted[0]} x "
                    f"{wanted[1]}.",
                    parameter="baseline",
                    allowed=f"the size of each picture, or {size} x {size}, which the model sees",
                    do="scale it, or leave it out for white noise",
                )

    def _absent(self, decoded: DecodedImage, pixels: Pixels) -> Pixels:
        """What stands where a segment is away: the baseline, or noise of the seed."""
        if self.baseline is None:
            return np.random.default_rng(self.request.seed).integers(0, 256, pixels.shape, dtype=np.uint8)
        if self.baseline.full_size == decoded.full_size:
            return self.model.saved.preprocessing.apply(self.baseline.image, self.baseline.full_size)
        return np.asarray(self.baseline.image)

    def _answers(self, pictures: Pictures | Sequence[Pixels]) -> Doubles:
        return answers(self.model.engine, self.model.saved.head, pictures, self.threads)

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
        text = page(job.name, job.state.created, str(self.model.path), result.explanations, result.errors, result.notes)
        write_bytes(result.report, text.encode("utf-8", "replace"), make_folder=True)


def _nearest(
    training: TrainingSet,
    neighbours: Neighbours,
    features: npt.NDArray[np.float32],
    model: OpenModel,
    request: ExplainRequest,
) -> tuple[tuple[Path, str, float], ...]:
    rows, cosines = neighbours.nearest(features, request.nearest)
    return tuple(
        (training.sight.files[row], model.classes[training.labels[row]], round(float(cosine), 6))
        for row, cosine in zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    )
