"""A trained head and how it came to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from vizsla.models.heads import Head
from vizsla.training.config import HeadConfig
from vizsla.training.fine_tuning.config import FineTuneConfig

StoppedBy = Literal["convergence", "precision", "iterations", "epochs", "patience", "divergence", "watcher"]
"""Why training ended: at the optimum; where float32 tells no better from worse; all iterations or epochs done; nothing
better for ``patience`` epochs; a loss that is no number; asked to."""


@dataclass(frozen=True)
class EpochMetrics:
    """What one configuration reached after an epoch; losses are cross-entropies in nats a picture."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float


@dataclass(frozen=True)
class PathPoint:
    """One strength of decay that was tried: the mean loss (nats) on ``pictures`` held out from training, and the share
    of them that was right. ``folds`` of the training split are among them, beside the validation split."""

    weight_decay: float
    loss: float
    accuracy: float
    pictures: int
    folds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"weight_decay": self.weight_decay, "loss": self.loss, "accuracy": self.accuracy}


@dataclass(frozen=True)
class Stop:
    """The wish that training ends now: ``by`` whom (a callback's or a rule's name), and the ``reason`` in words."""

    by: str
    reason: str


@dataclass(frozen=True)
class Adjust:
    """The wish that a network trains on otherwise: with its learning rate times ``lr_factor`` from here on, and, with
    ``roll_back``, from the weights of its best epoch."""

    by: str
    reason: str
    lr_factor: float = 1.0
    roll_back: bool = False


@dataclass
class TrainedHead:
    """A trained head, for features as they are (the standardisation is folded in), and how it came to be.

    ``history`` has an entry an epoch; of a head that was trained to its optimum one entry, and ``path`` the strengths
    of decay that were compared, the strongest first (empty where the configuration names the strength). ``config``
    holds the strength that was chosen. ``iterations`` counts the passes over the training pictures.
    """

    config: HeadConfig | FineTuneConfig
    head: Head
    best_epoch: int
    stopped_by: StoppedBy
    history: list[EpochMetrics] = field(default_factory=list)
    path: tuple[PathPoint, ...] = ()
    iterations: int = 0
    stop: Stop | None = None
    """Who wished training to end and why, where one did."""

    @property
    def best(self) -> EpochMetrics:
        """The metrics of what was kept."""
        return self.history[self.best_epoch - 1]


OnEpoch = Callable[[dict[int, EpochMetrics]], Iterable[int] | None]
"""Called after each epoch with the metrics by configuration; returns the configurations to stop (or None).

A training that goes on from a checkpoint first tells the epochs before it again, whatever is returned then.
"""
