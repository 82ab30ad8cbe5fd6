"""What a job does while it trains: it keeps the metrics, shows progress and keeps its time."""

from __future__ import annotations

from vizsla.jobs.directory import JobDirectory
from vizsla.jobs.metrics import read_metrics
from vizsla.training.callbacks import Callback
from vizsla.training.trained import EpochMetrics
from vizsla.workflow.observer import Observer


class MetricsLog(Callback):
    """Appends metrics to the job's ``metrics.jsonl``. An attempt after a kill comes by the same values again: each is
    written once."""

    def __init__(self, job: JobDirectory) -> None:
        self._job = job
        self._written = {(metric.name, metric.step) for metric in read_metrics(job.metrics)}

    def append(self, name: str, value: float, epoch: int | None = None) -> None:
        """Write one value down."""
        if (name, epoch) not in self._written:
            self._job.append_metric(name, value, step=epoch, epoch=epoch)

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> None:
        for name in ("train_loss", "valid_loss", "valid_accuracy"):
            self.append(name, getattr(metrics, name), None if epochs is None else metrics.epoch)


class EpochLines(Callback):
    """Tells an observer of each epoch in the lines that training scripts print: mean losses in nats, and the share of
    the validation pictures that is right. The test split is read once, when training has ended."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> None:
        for text in (
            f"Epoch {metrics.epoch}/{epochs}",
            f"Training Loss: {metrics.train_loss}",
            f"Validation Loss: {metrics.valid_loss}",
            f"Accuracy: {100 * metrics.valid_accuracy}%",
        ):
            self._observer.line(text)


class Progress(Callback):
    """Tells an observer which phase it is and how many epochs of it are done."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._total: int | None = None

    def on_phase(self, name: str, total: int | None) -> None:
        self._total = total
        self._observer.stage(name, total)

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> None:
        if epochs is not None and self._total in (None, epochs):  # a search counts its trials
            self._observer.progress(metrics.epoch, epochs)
