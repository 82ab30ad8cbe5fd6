"""The main job: a folder of labelled pictures becomes a measured, saved classifier."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.cache import bound
from vizsla.data import Dataset, Split
from vizsla.data.split import draw
from vizsla.errors import BudgetError, DataError
from vizsla.evaluation import Evaluation, evaluate
from vizsla.files import write_bytes
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.callbacks import Callback, Callbacks, Deadline
from vizsla.training.features import Extraction, extract, probabilities
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.trainer import FineTuner
from vizsla.training.head_data import HeadData
from vizsla.training.head_trainer import HeadTrainer
from vizsla.training.trained import TrainedHead
from vizsla.training.trainer import Frozen, Trainer
from vizsla.version import VERSION
from vizsla.workflow import records
from vizsla.workflow.advice import advice, comparison
from vizsla.workflow.debugger import Debugger
from vizsla.workflow.document import to_job
from vizsla.workflow.gate import write_findings
from vizsla.workflow.head_search import SearchTrainer
from vizsla.workflow.job_callbacks import MetricsLog, Progress
from vizsla.workflow.logbook import Logbook
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.preparation import Preparation, Start
from vizsla.workflow.proof import prove
from vizsla.workflow.request import PREDICTIONS, REPORT, FitRequest, FitResult
from vizsla.workflow.watch import Watch

_RESERVE_SECONDS = 3.0
_EXPORT_SECONDS = 12.0
"""To export a backbone that was trained, and to save and prove the model."""
_RESERVE_SECONDS_PER_PICTURE = 0.001


def fit(request: FitRequest, observer: Observer | None = None) -> FitResult:
    """Train, evaluate and save a classifier, as a job that runs in this process.

    Raises
    ------
    VizslaError
        Of the kind that tells what went wrong. Features that were computed stay in the cache.
    """
    observer = observer or Silent()
    watch = Watch(observer, request.minutes)
    kind = "train" if request.tune is None else "tune"
    with (
        contextlib.closing(Start(request, watch, observer)) as start,
        running_here(kind, start.name, to_job(request), name=request.name) as job,
        open(job.logs, "a", encoding="utf-8", errors="replace") as log,
    ):
        logbook = Logbook(log, observer)  # from here on, there is a log
        watch.callback = Progress(logbook)
        with withdrawn_if_refused(job):
            prepared = start.prepare(watch, logbook)
        return _Fit(request, prepared, job, watch, logbook).run()


def fit_in(job: JobDirectory, request: FitRequest, observer: Observer) -> FitResult:
    """What :func:`fit` does, within a job that another process controls; started again, it goes on.

    Raises
    ------
    VizslaError
        As :func:`fit` does.
    """
    watch = Watch(observer, request.minutes)
    with contextlib.closing(Start(request, watch, observer)) as start:
        return _Fit(request, start.prepare(watch, observer), job, watch, observer).run()


class _Fit:
    """One run of the job; each stage leaves what the next ones need."""

    backbone: ExportedBackbone
    space: FeatureSpace
    extraction: Extraction
    measured: Extraction
    """Of the test pictures: with the backbone that is saved."""
    data: HeadData
    callback: Callback
    trained: TrainedHead
    evaluation: Evaluation
    test_rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    def __init__(
        self,
        request: FitRequest,
        prepared: Preparation,
        job: JobDirectory,
        watch: Watch,
        observer: Observer,
    ) -> None:
        self.request, self.prepared, self.job = request, prepared, job
        checked = prepared.checked
        self.watch, self.observer = watch, observer
        self.dataset: Dataset = checked.gated.dataset
        self.warnings = [*checked.summary(), *self.dataset.check()]
        self.findings = checked.gated.findings
        self.looked_at = checked.gated.facts.scan.records["sha256"]
        self.seed = request.head.seed
        self.metrics, self.debugger = MetricsLog(job), Debugger(job, observer.note)

    def run(self) -> FitResult:
        """All stages, in order."""
        if self.prepared.weights.random_init:
            chance = spelled("random_init", True)
            self._warn(f"The backbone is untrained ({chance}): expect far less than trained weights give.")
        if changed := records.other_data(self.job.checkpoints / "data.json", self.dataset, self.looked_at):
            self._warn(changed)
        for text in (self.dataset.layout, *self.dataset.notes, *self.warnings):
            self.observer.note(text)
        write_findings(self.job.output / "findings.jsonl", self.findings)
        with self.watch.stage("backbone"):
            self.backbone = self.prepared.export.result()
            engine = OnnxEngine(self.backbone.path)
        with self.watch.stage("features", len(self.dataset)):
            self._extract(engine)
        trainer = self._trainer()
        with self.watch.stage(*trainer.phase), contextlib.closing(self.debugger):
            training = trainer.train(self._frozen(), self.callback)
        bound(settings().cache, settings().cache_bytes)
        self.trained = training.trained
        if self.trained.stop is not None:
            self._warn(f"Training was stopped by {self.trained.stop.by}: {self.trained.stop.reason}.")
        self.measured = self.extraction
        if training.backbone is not self.backbone:
            self.backbone, engine = training.backbone, OnnxEngine(training.backbone.path)
            with self.watch.stage("trained features", len(self._rows("test"))):
                self.measured = self._measure(engine)
        with self.watch.stage("evaluation"):
            self._evaluate(training.frozen)
        with self.watch.stage("model"):
            self._save(engine)
        search = trainer.result if isinstance(trainer, SearchTrainer) else None
        with self.watch.stage("report"):
            report = self._report()
            if search is not None:
                from vizsla.reports.tune import write_page

                write_page(self.job, search)
        trainer.clear()
        result = FitResult(
            job=self.job.path,
            model=self.job.model,
            archive=self.job.output / artifact.ARCHIVE,
            report=report,
            evaluation=self.evaluation,
            seconds=self.watch.seconds,
            images_per_second=self.images_per_second,
            computed=self.computed,
            damaged=tuple(records.damaged_entries(self.dataset, self.extraction.damaged)),
            unreached=len(self.extraction.unreached),
            warnings=tuple(self.warnings),
            search=search,
        )
        result.save()
        return result

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def _extract(self, engine: OnnxEngine) -> None:
        n, order = len(self.dataset), None
        deadline = self.watch.before(_RESERVE_SECONDS + n * _RESERVE_SECONDS_PER_PICTURE)
        if deadline is not None:
            # Cut off anywhere, what was reached is a fair sample of every class and split.
            order = np.argsort([draw(self.seed, path) for path in self.dataset.paths], kind="stable")
        self.space = FeatureSpace(settings().cache, self.backbone, engine)
        if self.prepared.look is not None:
            self.prepared.look.finish(settings().threads)
        self.extraction = extract(
            self.dataset,
            self.space,
            self.backbone.preprocessing,
            engine,
            threads=settings().threads,
            deadline=deadline,
            order=order,
            keys=self.prepared.checked.gated.contents,
            on_progress=self.observer.progress,
        )
        bound(settings().cache, settings().cache_bytes)
        damaged, unreached = self.extraction.damaged, self.extraction.unreached
        records.write_damaged(self.job.output / "damaged.jsonl", records.damaged_entries(self.dataset, damaged))
        if damaged:
            self._warn(f"Damaged pictures, left out: {len(damaged):,} (the report lists them).")
        if len(unreached):
            self._warn(
                f"The time was over before {len(unreached):,} of {n:,} pictures were reached; "
                "run again with more minutes to go on from here."
            )
        self._check_usable()

    def _measure(self, engine: OnnxEngine) -> Extraction:
        """The test pictures' features, of a backbone that training has changed."""
        return extract(
            self.dataset,
            FeatureSpace(settings().cache, self.backbone, engine),
            self.backbone.preprocessing,
            engine,
            threads=settings().threads,
            order=self._rows("test"),
            keys=self.extraction.keys,
            on_progress=self.observer.progress,
        )

    @property
    def computed(self) -> int:
        """Pictures whose features were computed now, by the look at them or after it."""
        return self.extraction.computed + (self.prepared.look.computed if self.prepared.look else 0)

    @property
    def images_per_second(self) -> float | None:
        """Pictures through the backbone in a second, the look at them included; None when all were in the cache."""
        look = self.prepared.look
        seconds = self.extraction.seconds + (look.seconds if look and look.computed else 0)
        return self.computed / seconds if self.computed and seconds else None

    def _check_usable(self) -> None:
        """What could be read in time must still make a data set."""
        damaged, unreached, usable = self.extraction.damaged, self.extraction.unreached, self.extraction.usable
        try:
            for text in self.dataset.check(usable):
                self._warn(text)
        except DataError as error:
            if len(unreached):
                raise BudgetError(
                    f"{self.request.minutes:g} minutes are too short: {int(usable.sum()):,} of {len(usable):,} "
                    f"pictures were reached. {error.what}",
                    where=self.dataset.root,
                    do=f"raise {spelled('minutes')}; the features computed so far are kept, and the next run goes on "
                    "from them",
                ) from error
            if damaged:
                row, first = next(iter(damaged.items()))
                raise DataError(
                    f"{error.what} Damaged pictures: {len(damaged):,}, such as {self.dataset.paths[row]} "
                    f"({first.what})",
                    where=error.where,
                    do=f"replace the damaged pictures; {self.job.output / 'damaged.jsonl'} lists them",
                ) from error
            raise

    def _trainer(self) -> Trainer:
        config, tune, deadline = self.request.head, self.request.tune, self.watch.before(_RESERVE_SECONDS)
        self.callback = Callbacks([self.metrics, self.watch.callback, self.debugger, Deadline(deadline)])
        if tune is not None:
            assert not isinstance(config, FineTuneConfig)
            return SearchTrainer(self.job, config, tune, self.observer, deadline)
        if isinstance(config, FineTuneConfig):
            return FineTuner(
                self.job.checkpoints,
                config,
                self.prepared.weights,
                Pictures(self.dataset.sealed(), self.extraction.keys),
                settings().cache,
                threads=settings().threads,
                deadline=self.watch.before(_EXPORT_SECONDS + len(self._rows("test")) / (self.images_per_second or 30)),
                on_progress=self.observer.progress,
                note=self.observer.note,
            )
        return HeadTrainer(self.job.checkpoints, config, self.observer.note)

    def _frozen(self) -> Frozen:
        self.data = HeadData(
            self.extraction.table,
            self.dataset.sealed().labels,
            self._rows("train"),
            self._rows("valid"),
            len(self.dataset.classes),
            self.dataset.groups,
        )
        identity = records.features_identity(self.digest, self.space.folder.name, self.extraction.usable)
        return Frozen(self.backbone, self.data, f"{self.digest} {self.backbone.sha256}", identity)

    @cached_property
    def digest(self) -> str:
        """What tells the data set from others."""
        return records.dataset_digest(self.dataset, self.extraction.keys)

    def _rows(self, split: Split) -> npt.NDArray[np.int64]:
        rows = self.dataset.rows(split)
        return rows[self.extraction.usable[rows]]

    def _evaluate(self, frozen: TrainedHead | None) -> None:
        rows = self._rows("test")
        self.test_rows = rows = rows[self.measured.usable[rows]]
        self.probabilities = probabilities(self.measured, self.trained.head, rows)
        counts = np.bincount(self.dataset.labels[self.data.train], minlength=len(self.dataset.classes))
        self.evaluation = evaluate(
            self.probabilities,
            self.dataset.labels[rows],
            self.dataset.classes,
            seed=self.seed,
            majority=int(counts.argmax()),
        )
        sentences = advice(self.data, self.trained, self.evaluation, counts)
        if frozen is not None:
            before = probabilities(self.extraction, frozen.head, rows)
            sentences.append(comparison(before, self.probabilities, self.dataset.labels[rows]))
        for text in sentences:
            self._warn(text)
            self.observer.note(text)
        records.write_confusion(self.job.output / "confusion.csv", self.evaluation)
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss", "ece"):
            self.metrics.append(f"test_{name}", getattr(self.evaluation, name).value)
        records.write_predictions(self.job.output / PREDICTIONS, self.dataset, rows, self.probabilities)

    def _save(self, engine: OnnxEngine) -> None:
        headline = {k: v for k, v in self.evaluation.to_dict().items() if k not in ("classes", "confusion", "mistakes")}
        card = artifact.ModelCard(
            classes=list(self.dataset.classes),
            preprocessing=artifact.PreprocessingCard(**self.backbone.preprocessing.to_dict()),
            backbone=artifact.BackboneCard(
                name=self.backbone.name,
                weights=self.backbone.weights,
                sha256=self.backbone.sha256,
                features=self.backbone.features,
                engine=engine.name,
                precision=engine.precision,
            ),
            head=self.trained.head.kind,
            head_sha256=hashlib.sha256(artifact.head_bytes(self.trained.head)).hexdigest(),
            metrics=headline,
            provenance=artifact.Provenance(
                job=self.job.name,
                created=self.job.state.created,
                dataset=self.dataset.name,
                dataset_sha256=self.digest,
                seed=self.seed,
                versions=records.versions(),
                hyperparameters=self.trained.config.to_dict(),
            ),
        )
        artifact.save(
            self.job.model,
            card,
            self.backbone.path,
            self.trained.head,
            prove=partial(prove, self.dataset, self.test_rows, self.probabilities),
        )
        artifact.pack(self.job.model, self.job.output / artifact.ARCHIVE)

    def _report(self) -> Path:
        from vizsla.reports.fit import FitReport, page

        extraction, model = self.extraction, shlex.quote(str(self.job.model))
        speed = self.images_per_second
        report = FitReport(
            job=self.job.name,
            created=self.job.state.created,
            dataset=self.dataset,
            backbone=self.backbone.name,
            weights=self.backbone.weights,
            trained=self.trained,
            evaluation=self.evaluation,
            rows=self.test_rows,
            probabilities=self.probabilities,
            damaged=extraction.damaged,
            usable=extraction.usable,
            warnings=[*self.dataset.notes, *self.warnings],
            facts=[
                ("dataset", str(self.dataset.root)),
                ("features computed now", f"{self.computed:,}" + (f", {speed:.0f} a second" if speed else "")),
                *((name.replace("_", " "), str(value)) for name, value in self.trained.config.to_dict().items()),
                ("vizsla", VERSION),
            ],
            seconds=list(self.watch.seconds.items()),
            commands=[f"vizsla {use}" for use in (f"predict {model} PICTURE...", f"serve {model}")],
            seed=self.seed,
        )
        path = self.job.output / REPORT
        write_bytes(path, page(report).encode("utf-8", "replace"))
        return path
