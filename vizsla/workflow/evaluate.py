"""``vizsla evaluate``: any saved model on any labelled pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.data.listing import Listing
from vizsla.data.sources import list_source
from vizsla.errors import DataError, ImageError, ModelError
from vizsla.evaluation import evaluate
from vizsla.evaluation.comparison import Comparison, compare
from vizsla.evaluation.explanation.activation_map import activation_map
from vizsla.evaluation.insights import Insights
from vizsla.evaluation.labels import check_shift, match_classes
from vizsla.evaluation.predictions import Predictions
from vizsla.files import write_bytes, write_json
from vizsla.images import Limits, read_file
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.models import artifact
from vizsla.parameters import spelled
from vizsla.reports.model_evaluation import SHOWN_MISTAKES, ModelReport, page
from vizsla.workflow import records
from vizsla.workflow.evaluation_request import PREDICTIONS, REPORT, RESULT, EvaluateRequest, EvaluateResult, Which
from vizsla.workflow.insights import insights
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.saved_model import OpenModel
from vizsla.workflow.sight import Sight, see
from vizsla.workflow.training_set import TrainingSet, find_training_set
from vizsla.workflow.watch import Watch


def evaluate_model(request: EvaluateRequest, observer: Observer | None = None) -> EvaluateResult:
    """Measure a saved model on labelled pictures, as a job that runs in this process.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong; what is refused leaves no job.
    """
    observer = observer or Silent()
    watch = Watch(observer, None)
    task = _Evaluation(request, watch, observer)
    with running_here("evaluate", task.listing.name, request.to_document(), name=request.name) as job:
        return task.run(job, is_here=True)


def evaluate_in(job: JobDirectory, observer: Observer) -> EvaluateResult:
    """What :func:`evaluate_model` does, within a job that another process controls.

    Raises
    ------
    VizslaError
        As :func:`evaluate_model` does.
    """
    return _Evaluation(EvaluateRequest.from_document(job.document), Watch(observer, None), observer).run(
        job, is_here=False
    )


class _Evaluation:
    """One run; what can be refused before any work is refused when it is made."""

    def __init__(self, request: EvaluateRequest, watch: Watch, observer: Observer) -> None:
        self.request, self.watch, self.observer = request, watch, observer
        self.notes: list[str] = []
        with watch.stage("dataset"):
            self.model = OpenModel.of(request.model)
            self.listing = list_source(request.data, request.source, observer.progress)
            self.rows, self.which = _choose(self.listing, request.split)
            chosen = [self.listing.labels[row] for row in self.rows.tolist()]
            self.labels = match_classes(chosen, self.model.classes, request.data)
            self.other = None if request.against is None else OpenModel.of(request.against)
            if self.other is not None:
                match_classes(chosen, self.other.classes, request.against)
        self.notes += self.listing.notes

    def run(self, job: JobDirectory, *, is_here: bool) -> EvaluateResult:
        """Everything, in order."""
        paths = [self.listing.paths[row] for row in self.rows.tolist()]
        with withdrawn_if_refused(job, is_here=is_here):
            with self.watch.stage("pictures", len(paths)):
                sight = see(self.listing.root, paths, self.model, self.observer, executor=self.request.executor)
            with self.watch.stage("training set"):
                training, why = find_training_set(self.model, self.request.training, self.observer)
            if training is None:
                self.notes.append(
                    f"Nothing is said of the training pictures: {why}. Some of them may be among those measured here, "
                    "and the accuracy too high for it."
                )
            if self.request.store_temperature and (training is None or not len(training.rows("valid"))):
                raise DataError(
                    "A temperature is fitted on the validation pictures of the training, and they are not there.",
                    where=self.model.path,
                    do=f"say where the training pictures lie: {spelled('training', 'DATA')}",
                )
            pictures, is_seen = self._measured(sight, training)
            labels = self.labels[sight.rows[pictures]]
            probabilities = self.model.saved.head.probabilities(sight.features[pictures])
            check_shift(probabilities.argmax(axis=1), labels, self.model.classes)
        with self.watch.stage("evaluation"):
            evaluation = evaluate(
                probabilities, labels, self.model.classes, seed=self.request.seed, majority=_majority(training)
            )
        measured = Predictions(
            [paths[row] for row in sight.rows[pictures].tolist()],
            [sight.files[at] for at in pictures.tolist()],
            labels,
            probabilities,
            tuple(self.model.classes),
        )
        comparison = self._compare(measured, sight.sha256[pictures], is_seen)
        with self.watch.stage("insights"):
            found, notes = insights(
                sight,
                pictures,
                measured,
                training,
                self.model.saved.head,
                comparison=comparison,
                is_seen=is_seen,
                trained_by=self.model.saved.card.provenance.hyperparameters,
                seed=self.request.seed,
            )
        self.notes += notes
        calibrated = self._calibrated(job, found)
        damaged = [
            {"path": paths[row], "label": self.listing.labels[int(self.rows[row])], **error.to_dict()}
            for row, error in sorted(sight.damaged.items())
        ]
        for text in self.notes:
            self.observer.note(text)
        result = EvaluateResult(
            job=job.path,
            report=job.output / REPORT,
            model=self.model.path,
            data=self.request.data,
            which=self.which,
            evaluation=evaluation,
            insights=found,
            calibrated=calibrated,
            damaged=tuple(damaged),
            notes=tuple(self.notes),
            seconds=self.watch.seconds,
        )
        with self.watch.stage("report"):
            self._write(result, job)
        write_json(job.output / RESULT, result.to_dict())
        return result

    def _write(self, result: EvaluateResult, job: JobDirectory) -> None:
        """The tables, the metrics and the page."""
        evaluation, measured = result.evaluation, result.insights.measured
        records.write_damaged(job.output / "damaged.jsonl", list(result.damaged))
        records.write_confusion(job.output / "confusion.csv", evaluation)
        records.write_measured(job.output / PREDICTIONS, measured)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss", "ece"):
            job.append_metric(f"test_{name}", getattr(evaluation, name).value)
        report = ModelReport(
            job=job.name,
            created=job.state.created,
            model=str(result.model),
            data=result.data,
            which=result.which,
            evaluation=evaluation,
            insights=result.insights,
            maps=self._maps(measured),
            damaged=result.damaged,
            notes=result.notes,
            seconds=list(result.seconds.items()),
        )
        write_bytes(result.report, page(report).encode("utf-8", "replace"))

    def _compare(
        self, measured: Predictions, contents: npt.NDArray[np.uint8], is_seen: npt.NDArray[np.bool_]
    ) -> Comparison | None:
        """This model against another one on the same pictures, of which neither has seen any in its training; classes
        of other order or number are matched by name."""
        if self.other is None:
            return None
        with self.watch.stage("the other model", len(measured.paths)):
            training, why = find_training_set(self.other, None, self.observer)
            new = ~is_seen if training is None else ~(is_seen | training.holds(contents))
            if training is None:
                self.notes.append(f"Of the other model's training pictures nothing is known: {why}.")
            if not new.any():
                self.notes.append("The models are not compared: one of both was trained on each of the pictures.")
                return None
            if not new.all():
                self.notes.append(
                    f"The models are compared on the {int(new.sum()):,} pictures that neither has seen in training."
                )
            paths = [path for path, is_new in zip(measured.paths, new.tolist(), strict=True) if is_new]
            theirs = see(self.listing.root, paths, self.other, self.observer, with_looks=False)
            if len(theirs.rows) < len(paths):
                raise DataError("The other model cannot read all of the pictures.", where=self.request.against)
            predicted = self.other.saved.head.probabilities(theirs.features).argmax(axis=1)
        position = {name: i for i, name in enumerate(measured.classes)}
        own = np.array([position.get(name, -1) for name in self.other.classes])[predicted]
        return compare(measured.right[new], own == measured.labels[new], self.other.path.name)

    def _maps(self, measured: Predictions) -> dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]]:
        """What spoke for the surest mistakes; nothing for a backbone that has no map."""
        saved, limits, maps = self.model.saved, Limits.from_settings(), {}
        for row in measured.surest_mistakes(SHOWN_MISTAKES).tolist():
            try:
                pixels = saved.preprocessing(read_file(measured.files[row], limits), limits)
                outputs = self.model.engine.features_and_map(pixels[None])
                label = int(measured.predicted[row])
                maps[row] = pixels, activation_map(*outputs, saved.head, label, saved.card.backbone.name).evidence
            except ImageError:  # it could be read a moment ago
                continue
            except ModelError:
                return {}
        return maps

    def _calibrated(self, job: JobDirectory, found: Insights) -> Path | None:
        """A copy of the model whose head has the temperature in it, where that was asked for."""
        if not self.request.store_temperature:
            return None
        assert found.calibration is not None
        artifact.save_tempered(self.model.saved, found.calibration.temperature, job.model)
        self.notes.append(
            f"A copy of the model with the temperature {found.calibration.temperature:.3f} lies in {job.model}: the "
            "same answers, with other probabilities."
        )
        return job.model

    def _measured(
        self, sight: Sight, training: TrainingSet | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The pictures to measure on, by their places in the sight: unless a split was asked for, those that training
        has not seen. And which of these it has."""
        if not len(sight.rows):
            raise DataError("No picture could be read.", where=self.request.data, do="check the folder")
        seen = np.zeros(len(sight.rows), bool) if training is None else training.holds(sight.sha256)
        if self.request.split is not None:
            if seen.any():
                self.notes.append(
                    f"Training or validation saw {int(seen.sum()):,} of these {len(seen):,} pictures: the figures are "
                    "higher for it. What is said of labels, of other training and of more pictures rests on the others."
                )
            return np.arange(len(seen)), seen
        if seen.all():
            raise DataError(
                "The model was trained on every one of these pictures: they cannot say how good it is on new ones.",
                where=self.request.data,
                do="give other pictures; to measure on these all the same, name the split (all, train)",
            )
        if seen.any():
            self.notes.append(
                f"Left out, as training or validation saw them: {int(seen.sum()):,} of {len(seen):,} pictures."
            )
        new = np.flatnonzero(~seen)
        return new, np.zeros(len(new), bool)


def _choose(listing: Listing, split: Which | None) -> tuple[npt.NDArray[np.int64], str]:
    """The rows to measure on, and in words which they are."""
    splits = np.array([name or "" for name in listing.splits])
    brought = [name for name in ("test", "valid", "train") if (splits == name).any()]
    if split is None:
        split = next((name for name in ("test", "valid") if name in brought), "all")
    if split == "all":
        return np.arange(len(splits)), "all"
    rows = np.flatnonzero(splits == split)
    if not len(rows):
        raise DataError(
            f"The data bring no {split} split.",
            where=listing.root,
            allowed=", ".join([*brought, "all"]),
            do="choose another split, or all",
        )
    return rows, str(split)


def _majority(training: TrainingSet | None) -> int | None:
    """The class that training saw most; None where that is not known."""
    if training is None:
        return None
    return int(np.bincount(training.labels[training.rows("train")], minlength=training.classes).argmax())
