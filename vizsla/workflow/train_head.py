"""One head within a job: with its checkpoint, its time and its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from vizsla.errors import VizslaError
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.config import HeadConfig, LbfgsConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.trained import EpochMetrics, TrainedHead
from vizsla.workflow.observer import Observer


def train_head(
    data: HeadData,
    config: HeadConfig,
    path: Path,
    identity: str,
    observer: Observer,
    deadline: float | None,
    on_metrics: Callable[[EpochMetrics, int | None], None],
) -> tuple[TrainedHead, Checkpoint | None]:
    """Train a head, in steps from the checkpoint at ``path`` if there is one.

    An optimum is found in seconds: it needs no checkpoint.

    Parameters
    ----------
    identity:
        What the checkpoint must be of.
    deadline:
        A moment of ``time.monotonic()``; what was reached then is kept.
    on_metrics:
        Called with metrics and their epoch; of an optimum once, without one.

    Raises
    ------
    VizslaError
        When steps diverge.
    """

    def over() -> bool:
        return deadline is not None and time.monotonic() > deadline

    if isinstance(config, LbfgsConfig):
        (trained,) = train_heads(data, [config], stop=over)
        on_metrics(trained.best, None)
        return trained, None

    def on_epoch(metrics: dict[int, EpochMetrics]) -> Iterable[int] | None:
        on_metrics(metrics[0], metrics[0].epoch)
        observer.progress(metrics[0].epoch, config.epochs)
        return [0] if over() else None

    checkpoint = Checkpoint(path, identity, observer.note)
    (trained,) = train_heads(data, [config], on_epoch, checkpoint)
    if not all(np.isfinite(tensor).all() for tensor in trained.head.tensors().values()):
        raise VizslaError(
            f"Training diverged: after epoch {len(trained.history)} the loss is no longer a number.",
            where=f"lr={config.lr:g}",
            do="use a smaller --lr",
        )
    return trained, checkpoint


def stopped_words(trained: TrainedHead) -> str:
    """Where a head was stopped because the time was over."""
    if isinstance(trained.config, LbfgsConfig):
        return "The time was over before the head was at its optimum."
    return f"The time was over after epoch {len(trained.history)} of {trained.config.epochs}."
