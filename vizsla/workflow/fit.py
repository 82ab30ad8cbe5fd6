"""The main job: a folder of labelled pictures becomes a measured, saved classifier."""

from __future__ import annotations

import contextlib
import shlex
import time
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vizsla.cache import bound
from vizsla.data import Dataset, Split
from vizsla.data.split import draw
from vizsla.evaluation import Evaluation, evaluate
from vizsla.files import write_bytes
from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.here import running_here, withdrawn_if_refused
from vizsla.models import artifact
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone, ensure_exported
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.training.cache import FeatureSpace
from vizsla.training.callbacks import Callback, Callbacks, Deadline
from vizsla.training.features import Extraction, extract, probabilities
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.head_data import HeadData
from vizsla.training.trained import TrainedHead
from vizsla.training.trainer import Frozen, Trainer
from vizsla.tuning.fine_tuning_space import BACKBONE
from vizsla.version import VERSION
from vizsla.workflow import records
from vizsla.workflow.advice import advice, comparison
from vizsla.workflow.backbone_choice import COLUMNS, TITLE, Chooser, Prospect
from vizsla.workflow.card import model_card
from vizsla.workflow.debugger import Debugger
from vizsla.workflow.document import to_job
from vizsla.workflow.gate import write_findings
from vizsla.workflow.job_callbacks import EpochLines, MetricsLog, Progress
from vizsla.workflow.logbook import Logbook
from vizsla.workflow.observer import Observer, Silent
from vizsla.workflow.preparation import Preparation, Start
from vizsla.workflow.profile import write_own_report
from vizsla.workflow.profiler import Profiler
from vizsla.workflow.proof import prove
from vizsla.workflow.request import PREDICTIONS, REPORT, FitRequest, FitResult
from vizsla.workflow.search import Search
from vizsla.workflow.trainers import trainer_for
from vizsla.workflow.usable import DAMAGED, check_usable
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
    engine: OnnxEngine
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
        self.spec = prepared.specs[0]
        self.prospects: tuple[Prospect, ...] = ()
        self.metrics, self.debugger = MetricsLog(job), Debugger(job, observer.note)

    def run(self) -> FitResult:
        """All stages, in order."""
        if self.spec.random_init:
            chance = spelled("random_init", True)
            self._warn(f"The backbone is untrained ({chance}): expect far less than trained weights give.")
        if changed := records.other_data(self.job.checkpoints / "data.json", self.dataset, self.looked_at):
            self._warn(changed)
        for text in (self.dataset.layout, *self.dataset.notes, *self.warnings):
            self.observer.note(text)
        write_findings(self.job.output / "findings.jsonl", self.findings)
        with self.watch.stage("backbone"):
            self.backbone = self.prepared.export.result()
        self._choose()
        self._extract()
        trainer = self._trainer()
        with self.watch.stage(*trainer.phase), contextlib.closing(self.debugger):
            training = trainer.train(self._frozen(), self.callback)
        bound(settings().cache, settings().cache_bytes)
        self.trained = training.trained
        self._warn(*training.remarks)
        if self.trained.stop is not None:
            self._warn(f"Training was stopped by {self.trained.stop.by}: {self.trained.stop.reason}.")
        if training.began is not None:
            self._begin_with(training.began)
        self.measured = self.extraction
        if training.backbone != self.backbone:
            self.backbone, self.engine = training.backbone, OnnxEngine(training.backbone.path)
            with self.watch.stage("trained features", len(self._rows("test"))):
                self.measured = self._measure()
        with self.watch.stage("evaluation"):
            self._evaluate(training.frozen)
        with self.watch.stage("model"):
            self._save()
        search = trainer.result if isinstance(trainer, Search) else None
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
        write_own_report(self.job, self.watch.elapsed, self.observer.note)
        return result

    def _warn(self, *texts: str) -> None:
        self.warnings += [text for text in texts if text not in self.warnings]

    def _choose(self) -> None:
        """The backbone that trains, of those that were named, and what its depths would bring."""
        end = self.watch.before(_RESERVE_SECONDS)
        chooser = Chooser(
            self.job.checkpoints,
            self.dataset.sealed(),
            self.prepared.checked.gated.contents,
            self.request.head,
            None if end is None else end - time.monotonic(),
            self.observer,
        )
        if self._searches_backbone or not chooser.is_open(self.prepared.specs):
            return
        with self.watch.stage("choice"):
            choice = chooser.choose(self.prepared.specs, self.backbone)
        self.spec, self.backbone, self.prospects = choice.spec, choice.backbone, choice.prospects

    @property
    def _searches_backbone(self) -> bool:
        space = None if self.request.tune is None else self.request.tune.space
        return space is not None and BACKBONE in space.parameters

    def _begin_with(self, spec: BackboneSpec) -> None:
        """Go over to another backbone, and its features of the pictures."""
        if spec != self.spec:
            self.spec, self.backbone = spec, ensure_exported(spec, settings().cache)
            self._extract()

    def _extract(self) -> None:
        self.engine = OnnxEngine(self.backbone.path)
        self.space = FeatureSpace(settings().cache, self.backbone, self.engine)
        n, order = len(self.dataset), None
        deadline = self.watch.before(_RESERVE_SECONDS + n * _RESERVE_SECONDS_PER_PICTURE)
        if deadline is not None:
            # Cut off anywhere, what was reached is a fair sample of every class and split.
            order = np.argsort([draw(self.seed, path) for path in self.dataset.paths], kind="stable")
        with self.watch.stage("features", n):
            if self.prepared.look is not None:
                self.prepared.look.finish(settings().threads)
            self.extraction = extract(
                self.dataset,
                self.space,
                self.backbone.preprocessing,
                self.engine,
                threads=settings().threads,
                deadline=deadline,
                order=order,
                keys=self.prepared.checked.gated.contents,
                on_progress=self.observer.progress,
            )
        bound(settings().cache, settings().cache_bytes)
        damaged, unreached = self.extraction.damaged, self.extraction.unreached
        records.write_damaged(self.job.output / DAMAGED, records.damaged_entries(self.dataset, damaged))
        if damaged:
            self._warn(f"Damaged pictures, left out: {len(damaged):,} (the report lists them).")
        if len(unreached):
            self._warn(
                f"The time was over before {len(unreached):,} of {n:,} pictures were reached; "
                "run again with more minutes to go on from here."
            )
        self._warn(*check_usable(self.dataset, self.extraction, self.request.minutes, self.job.output / DAMAGED))

    def _measure(self) -> Extraction:
        """The test pictures' features, of a backbone that training has changed."""
        return extract(
            self.dataset,
            FeatureSpace(settings().cache, self.backbone, self.engine),
            self.backbone.preprocessing,
            self.engine,
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

    def _trainer(self) -> Trainer:
        end = self.watch.before(_RESERVE_SECONDS)
        lines = [] if self.request.preset is None else [EpochLines(self.observer)]
        own = [self.metrics, self.watch.callback, self.debugger, Profiler(self.job.path)]
        self.callback = Callbacks([*own, Deadline(end), *lines])
        pictures = Pictures(self.dataset.sealed(), self.extraction.keys)
        after = _EXPORT_SECONDS + len(self._rows("test")) / (self.images_per_second or 30)
        specs = self.prepared.specs if self._searches_backbone else (self.spec,)
        return trainer_for(
            self.job,
            self.request,
            specs,
            self._frozen_of,
            pictures,
            self.observer,
            end=end,
            backbone_end=self.watch.before(after),
        )

    def _frozen_of(self, spec: BackboneSpec) -> Frozen:
        self._begin_with(spec)
        return self._frozen()

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

    def _save(self) -> None:
        rows = np.concatenate([self._rows("train"), self._rows("valid")])
        seen = records.Seen(self.extraction.keys[rows], self.dataset.labels[rows], self.dataset.splits[rows])
        seen.write(self.job.output / records.SEEN)
        card = model_card(
            self.job, self.dataset, self.digest, self.backbone, self.engine, self.trained, self.evaluation, self.seed
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
            prospects=(TITLE, COLUMNS, [prospect.words for prospect in self.prospects]),
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
