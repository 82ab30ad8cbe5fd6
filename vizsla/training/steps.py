"""Heads trained in steps, many configurations at once.

All configurations of one batch size and seed see the same batches, so that their logits are one matrix product:
(b, d) @ (d, t * c). One configuration alone runs through the same lines. numpy, not torch: importing torch takes
longer (2 to 4 s) than training a head here (under 1 s), and the product is the same BLAS call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import numpy.typing as npt

from vizsla.models.heads import LinearHead
from vizsla.training.checkpoint import Checkpoint, State
from vizsla.training.config import StepConfig
from vizsla.training.head_data import HeadData, chunks
from vizsla.training.optimizers import BatchedOptimizer, Settings
from vizsla.training.sampling import batches
from vizsla.training.trained import EpochMetrics, OnEpoch, StoppedBy, TrainedHead

Floats = npt.NDArray[np.float32]

_MINIMUM_GAIN = 1e-4


def train_in_steps(
    data: HeadData,
    configs: Mapping[int, StepConfig],
    on_epoch: OnEpoch,
    checkpoint: Checkpoint | None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[int, TrainedHead]:
    """Train one head for each configuration; see :func:`vizsla.training.heads.train_heads`."""
    groups: dict[tuple[int, int, bool], list[int]] = {}
    for i, config in configs.items():
        groups.setdefault((config.batch_size, config.seed, config.balance == "sampling"), []).append(i)
    trained: dict[int, TrainedHead] = {}
    # A configuration that diverges is seen in its loss.
    with np.errstate(over="ignore", invalid="ignore"):
        for members in groups.values():
            trained |= _Group(data, {i: configs[i] for i in members}, stop).train(on_epoch, checkpoint)
    return trained


class _Group:
    """Configurations that share their batches: trained together, each for its own number of epochs."""

    def __init__(self, data: HeadData, configs: dict[int, StepConfig], stop: Callable[[], bool]) -> None:
        self.stop, self.stopped = stop, False
        self.data, self.inputs, self.configs = data, data.inputs, configs
        # Configurations of one optimizer lie side by side, so that each optimizer's update is one operation.
        self.ids = sorted(configs, key=lambda i: (configs[i].optimizer, i))
        first = configs[self.ids[0]]
        self.batch_size, self.seed, self.sampling = first.batch_size, first.seed, first.balance == "sampling"
        d, t, c = data.table.features, len(self.ids), data.classes
        self.weights = np.zeros((d + 1, t, c), np.float32)  # the last row is the bias
        self.optimizer = BatchedOptimizer([_settings(configs[i]) for i in self.ids], self.weights.shape)
        # The bias starts at what the classes' shares alone say: a rare class is not to be learnt to be rare first.
        self.balanced = data.class_weights(data.train)
        even = np.ones(c, np.float32)
        for at, i in enumerate(self.ids):
            level = even if configs[i].balance == "none" else self.balanced
            self.weights[-1, at] = data.log_shares(data.train, level)
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
            stopped = set(on_epoch(metrics) or ()) | set(self.ids if self.stopped else ())
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
        mean, deviation = self.inputs.mean, self.inputs.deviation
        trained = {}
        for i, config in self.configs.items():
            _, best, weights = self.best[i]
            head = LinearHead.trained(weights.ravel(), mean, deviation)
            trained[i] = TrainedHead(config, head, best, self.ended[i], self.history[i])
        return trained

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
            self.stopped = self.stop() or self.stopped
        result: npt.NDArray[np.float64] = loss / seen
        return result

    def _validate(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Cross-entropy (unsmoothed, unweighted) and accuracy on the validation rows."""
        d, t, c = self.weights.shape
        loss, right = np.zeros(t), np.zeros(t)
        for rows in chunks(self.data.valid):
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


def _settings(config: StepConfig) -> Settings:
    return Settings(config.optimizer, config.lr, config.weight_decay, config.momentum, config.nesterov)


def _log_softmax(logits: Floats) -> Floats:
    logits -= logits.max(axis=2, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return logits
