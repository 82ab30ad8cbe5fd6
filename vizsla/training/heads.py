"""Linear heads on frozen features, many configurations at once.

All configurations of one batch size and seed see the same batches, so that their logits are one matrix product:
(b, d) @ (d, t * c). One configuration alone runs through the same lines. numpy, not torch: importing torch takes
longer (2 to 4 s) than training a head here (under 1 s), and the product is the same BLAS call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from vizsla.errors import SealedError, UsageError
from vizsla.models.head import Head
from vizsla.optional import require
from vizsla.training.checkpoint import Checkpoint, State
from vizsla.training.optimizers import BatchedOptimizer, Optimizer, Settings
from vizsla.training.sampling import batches
from vizsla.training.table import FeatureTable

Floats = npt.NDArray[np.float32]
Balance = Literal["none", "weights", "sampling"]
StoppedBy = Literal["epochs", "patience", "divergence", "watcher"]
"""Why training ended: all epochs done; nothing better for ``patience`` of them; a loss that is no number; asked to."""

_CHUNK = 1024
_KEPT_BYTES = 32 << 20
"""Inputs up to this size are standardised once and kept: as much work as the products themselves, every epoch."""
_MINIMUM_GAIN = 1e-4


@dataclass(frozen=True)
class HeadConfig:
    """Hyperparameters of one head.

    ``balance`` counters unequal class sizes: ``weights`` weighs each picture's loss by n / (classes * n_class),
    ``sampling`` draws every class equally often. ``patience`` is the number of epochs without a better
    validation loss after which training stops and the best epoch is kept; None trains all ``epochs`` and keeps
    the last.

    Raises
    ------
    UsageError
        When a value is out of range.
    """

    optimizer: Optimizer = "adamw"
    lr: float = 0.0003
    batch_size: int = 64
    epochs: int = 40
    weight_decay: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    label_smoothing: float = 0.0
    balance: Balance = "none"
    patience: int | None = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (holds, allowed) in _ALLOWED.items():
            value = getattr(self, name)
            if not holds(value):
                raise UsageError(f"{name}={value!r} cannot be used.", where=f"parameter {name}", allowed=allowed)
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov=True needs a momentum.", where="parameter momentum", allowed="0 < momentum < 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The hyperparameters' names."""
        return tuple(f.name for f in fields(cls))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


_ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda v: v in ("sgd", "adam", "adamw"), "sgd, adam or adamw"),
    "lr": (lambda v: _number(v) and v > 0, "a number above 0, such as 0.001"),
    "batch_size": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "epochs": (lambda v: isinstance(v, int) and v >= 1, "a whole number of at least 1"),
    "weight_decay": (lambda v: _number(v) and v >= 0, "a number of at least 0"),
    "momentum": (lambda v: _number(v) and 0 <= v < 1, "0 <= momentum < 1"),
    "label_smoothing": (lambda v: _number(v) and 0 <= v < 1, "0 <= label_smoothing < 1"),
    "balance": (lambda v: v in ("none", "weights", "sampling"), "none, weights or sampling"),
    "patience": (lambda v: v is None or (isinstance(v, int) and v >= 1), "a whole number of at least 1, or none"),
    "seed": (lambda v: isinstance(v, int) and v >= 0, "a whole number of at least 0"),
}


@dataclass(frozen=True)
class EpochMetrics:
    """What one configuration reached after an epoch; losses are cross-entropies in nats a picture."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_accuracy: float


@dataclass
class TrainedHead:
    """A trained head, for features as they are (the standardisation is folded in), and how it came to be."""

    config: HeadConfig
    head: Head
    best_epoch: int
    stopped_by: StoppedBy
    history: list[EpochMetrics] = field(default_factory=list)


OnEpoch = Callable[[dict[int, EpochMetrics]], Iterable[int] | None]
"""Called after each epoch with the metrics by configuration; returns the configurations to stop (or None).

A training that goes on from a checkpoint first tells the epochs before it again, whatever is returned then.
"""


@dataclass(frozen=True)
class HeadData:
    """What heads are trained on: rows of ``table`` with their ``labels`` (int32 of shape (n,), by table row).

    Raises
    ------
    SealedError
        When a row belongs to the sealed test split (label -1; see :meth:`vizsla.data.Dataset.sealed`).
    """

    table: FeatureTable
    labels: npt.NDArray[np.int32]
    train: npt.NDArray[np.int64]
    valid: npt.NDArray[np.int64]
    classes: int

    def __post_init__(self) -> None:
        for rows, name in ((self.train, "train"), (self.valid, "valid")):
            if len(rows) and self.labels[rows].min() < 0:
                raise SealedError(
                    f"The {name} rows hold {int((self.labels[rows] < 0).sum()):,} pictures of the sealed test split.",
                    allowed="rows of the train and valid splits",
                    do="take the rows from Dataset.rows('train') and Dataset.rows('valid')",
                )

    @cached_property
    def inputs(self) -> Inputs:
        """Standardised features, by rows."""
        return Inputs(self)


def train_heads(
    data: HeadData,
    configs: Sequence[HeadConfig],
    on_epoch: OnEpoch = lambda metrics: None,
    checkpoint: Checkpoint | None = None,
) -> list[TrainedHead]:
    """Train one head for each configuration.

    Deterministic: the same data, configurations and machine give the same bits, also from a checkpoint.

    Parameters
    ----------
    checkpoint:
        Keeps the state of a single head's training, which goes on from it.

    Returns
    -------
    The trained heads, in the order of ``configs``.

    Raises
    ------
    UsageError
        For a checkpoint of several heads.
    """
    if checkpoint is not None and len(configs) != 1:
        raise UsageError(
            f"A checkpoint cannot hold {len(configs)} heads.", where="parameter checkpoint", allowed="a single head"
        )
    trained: dict[int, TrainedHead] = {}
    groups: dict[tuple[int, int, bool], list[int]] = {}
    for i, config in enumerate(configs):
        groups.setdefault((config.batch_size, config.seed, config.balance == "sampling"), []).append(i)
    # The products are small: threads waiting for each other cost more than they give, on a busy machine 20 to 40 x.
    threads = require("threadpoolctl", extra="train", feature="Training heads").threadpool_limits(1, "blas")
    # A configuration that diverges is seen in its loss.
    with threads, np.errstate(over="ignore", invalid="ignore"):
        for members in groups.values():
            group = _Group(data, {i: configs[i] for i in members})
            trained.update(group.train(on_epoch, checkpoint))
    return [trained[i] for i in range(len(configs))]


class Inputs:
    """What heads are trained on: standardised features with a column of ones, (len(rows), d + 1) for table rows."""

    def __init__(self, data: HeadData) -> None:
        self._table = data.table
        self.mean, self.deviation = standardisation(data.table, data.train)
        rows = np.concatenate([data.train, data.valid])
        self._at: npt.NDArray[np.int64] | None = None
        if len(rows) * (data.table.features + 1) * 4 <= _KEPT_BYTES:
            self._kept = np.concatenate([self._computed(chunk) for chunk in _chunks(rows)])
            self._at = np.full(len(data.table), -1, np.int64)
            self._at[rows] = np.arange(len(rows))

    def __call__(self, rows: npt.NDArray[np.int64]) -> Floats:
        return self._computed(rows) if self._at is None else self._kept[self._at[rows]]

    def _computed(self, rows: npt.NDArray[np.int64]) -> Floats:
        x = np.ones((len(rows), self._table.features + 1), np.float32)
        np.subtract(self._table.take(rows), self.mean, out=x[:, :-1])
        x[:, :-1] /= self.deviation
        return x


def standardisation(table: FeatureTable, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each feature over ``rows``; a constant feature's deviation counts as 1."""
    total = np.zeros(table.features)
    squares = np.zeros(table.features)
    shift: npt.NDArray[np.float64] = table.take(rows[:1])[0].astype(np.float64)  # against cancellation
    for chunk in _chunks(rows):
        values = table.take(chunk).astype(np.float64) - shift
        total += values.sum(axis=0)
        squares += (values * values).sum(axis=0)
    mean = total / len(rows)
    deviation = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
    deviation[deviation < 1e-6 * (1 + np.abs(mean + shift))] = 1
    return (mean + shift).astype(np.float32), deviation.astype(np.float32)


class _Group:
    """Configurations that share their batches: trained together, each for its own number of epochs."""

    def __init__(self, data: HeadData, configs: dict[int, HeadConfig]) -> None:
        self.data, self.inputs, self.configs = data, data.inputs, configs
        # Configurations of one optimizer lie side by side, so that each optimizer's update is one operation.
        self.ids = sorted(configs, key=lambda i: (configs[i].optimizer, i))
        first = configs[self.ids[0]]
        self.batch_size, self.seed, self.sampling = first.batch_size, first.seed, first.balance == "sampling"
        d, t, c = data.table.features, len(self.ids), data.classes
        self.weights = np.zeros((d + 1, t, c), np.float32)  # the last row is the bias
        self.optimizer = BatchedOptimizer([_settings(configs[i]) for i in self.ids], self.weights.shape)
        counts = np.bincount(data.labels[data.train], minlength=c)
        self.balanced = (len(data.train) / (c * np.maximum(counts, 1))).astype(np.float32)
        self.history: dict[int, list[EpochMetrics]] = {i: [] for i in self.ids}
        self.best: dict[int, tuple[float, int, Floats]] = {}
        self.ended: dict[int, StoppedBy] = {}

    def train(self, on_epoch: OnEpoch, checkpoint: Checkpoint | None) -> dict[int, TrainedHead]:
        epoch = 0
        if checkpoint is not None and (kept := checkpoint.load()) is not None:
            epoch, state = kept
            self._restore(state)
            for i, history in self.history.items():
                for m in history:
                    on_epoch({i: m})
        while self.ids:
            epoch += 1
            train_loss = self._epoch(epoch)
            valid_loss, valid_accuracy = self._validate()
            metrics = {}
            for at, i in enumerate(self.ids):
                metrics[i] = EpochMetrics(
                    epoch, float(train_loss[at]), float(valid_loss[at]), float(valid_accuracy[at])
                )
                self.history[i].append(metrics[i])
                self._remember(i, at, epoch, metrics[i].valid_loss)
            stopped = set(on_epoch(metrics) or ())
            ends = {i: self._end(i, epoch) or ("watcher" if i in stopped else None) for i in self.ids}
            self.ended |= {i: end for i, end in ends.items() if end}
            going = [at for at, i in enumerate(self.ids) if i not in self.ended]
            if len(going) < len(self.ids):
                positions = np.array(going, np.int64)
                self.ids = [self.ids[at] for at in going]
                self.weights = np.ascontiguousarray(self.weights[:, positions])
                self.optimizer.keep(positions)
            if checkpoint is not None:
                checkpoint.offer(epoch, self._state)
        return {
            i: TrainedHead(config, self._fold(self.best[i][2]), self.best[i][1], self.ended[i], self.history[i])
            for i, config in self.configs.items()
        }

    def _state(self) -> State:
        """All that training goes on from, of a group of one configuration."""
        ((i, history),) = self.history.items()
        loss, epoch, weights = self.best[i]
        return {
            "weights": self.weights,
            **self.optimizer.state(),
            "history": np.array([[m.train_loss, m.valid_loss, m.valid_accuracy] for m in history]),
            "best": np.array([loss, epoch]),
            "best_weights": weights,
            "ended": np.frombuffer(self.ended.get(i, "").encode(), np.uint8),
        }

    def _restore(self, state: State) -> None:
        (i,) = self.history
        self.weights = state["weights"]
        self.optimizer.restore(state)
        self.history[i] = [EpochMetrics(epoch, *values) for epoch, values in enumerate(state["history"].tolist(), 1)]
        loss, epoch = state["best"].tolist()
        self.best[i] = (loss, int(epoch), state["best_weights"])
        if ended := state["ended"].tobytes().decode():
            self.ended[i] = cast(StoppedBy, ended)
            self.ids = []

    def _epoch(self, epoch: int) -> npt.NDArray[np.float64]:
        """One pass over the training rows; the mean training loss of each configuration."""
        d, t, c = self.weights.shape
        configs = [self.configs[i] for i in self.ids]
        smoothing = np.array([config.label_smoothing for config in configs], np.float32)
        weighted = np.array([config.balance == "weights" for config in configs])
        loss, seen = np.zeros(t), 0
        for rows in batches(
            self.data.train, self.data.labels, self.batch_size, self.seed, epoch, balanced=self.sampling
        ):
            x, y = self.inputs(rows), self.data.labels[rows]
            log_p = _log_softmax((x @ self.weights.reshape(d, t * c)).reshape(len(rows), t, c))
            # Weighted cross-entropy is normalised by the sum of weights, as torch.nn.CrossEntropyLoss does.
            weight = np.where(weighted, self.balanced[y][:, None], np.float32(1))
            weight /= weight.sum(axis=0)
            target = np.zeros((len(rows), t, c), np.float32)
            target[np.arange(len(rows)), :, y] = 1
            target *= (1 - smoothing)[None, :, None]
            target += (smoothing / c)[None, :, None]
            loss += -np.einsum("btc,btc,bt->t", target, log_p, weight) * len(rows)
            seen += len(rows)
            gradient = (np.exp(log_p) - target) * weight[:, :, None]
            self.optimizer.step(self.weights, (x.T @ gradient.reshape(len(rows), t * c)).reshape(d, t, c))
        result: npt.NDArray[np.float64] = loss / seen
        return result

    def _validate(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Cross-entropy (unsmoothed, unweighted) and accuracy on the validation rows."""
        d, t, c = self.weights.shape
        loss, right = np.zeros(t), np.zeros(t)
        for rows in _chunks(self.data.valid):
            y = self.data.labels[rows]
            log_p = _log_softmax((self.inputs(rows) @ self.weights.reshape(d, t * c)).reshape(len(rows), t, c))
            loss -= log_p[np.arange(len(rows)), :, y].sum(axis=0, dtype=np.float64)
            right += (log_p.argmax(axis=2) == y[:, None]).sum(axis=0)
        n = max(1, len(self.data.valid))
        return loss / n, right / n

    def _remember(self, i: int, at: int, epoch: int, valid_loss: float) -> None:
        """Keep the best epoch's weights where early stopping is on, else the last's."""
        best = self.best.get(i)
        if best is None or self.configs[i].patience is None or valid_loss < best[0] - _MINIMUM_GAIN:
            self.best[i] = (valid_loss, epoch, self.weights[:, at].copy())

    def _end(self, i: int, epoch: int) -> StoppedBy | None:
        config = self.configs[i]
        if not np.isfinite(self.history[i][-1].train_loss):
            return "divergence"
        if epoch >= config.epochs:
            return "epochs"
        if config.patience is not None and epoch - self.best[i][1] >= config.patience:
            return "patience"
        return None

    def _fold(self, weights: Floats) -> Head:
        """Weights (d + 1, c) for standardised features to a head for features as they are."""
        exact = weights[:-1].astype(np.float64) / self.inputs.deviation[:, None]
        bias = weights[-1] - self.inputs.mean.astype(np.float64) @ exact
        return Head(np.ascontiguousarray(exact.T, np.float32), bias.astype(np.float32))


def _settings(config: HeadConfig) -> Settings:
    return Settings(config.optimizer, config.lr, config.weight_decay, config.momentum, config.nesterov)


def _log_softmax(logits: Floats) -> Floats:
    logits -= logits.max(axis=2, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return logits


def _chunks(rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
