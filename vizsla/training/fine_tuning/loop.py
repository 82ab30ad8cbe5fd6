"""The loop that trains a backbone with its head, from top to bottom. Imports torch."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from vizsla.errors import VizslaError
from vizsla.parameters import spelled
from vizsla.training.callbacks import Callback
from vizsla.training.checkpoint import Checkpoint, State
from vizsla.training.fine_tuning.blending import blended_share
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.group import Group
from vizsla.training.fine_tuning.inputs import Inputs
from vizsla.training.fine_tuning.layers import layer_groups, learning_rate, make_optimizer, thaw
from vizsla.training.fine_tuning.memory import kept_memory
from vizsla.training.fine_tuning.network import Network, fill, swapped, tensors
from vizsla.training.fine_tuning.pace import Pace
from vizsla.training.head_data import HeadData, chunks
from vizsla.training.sampling import batches
from vizsla.training.temperature import best_temperature, losses
from vizsla.training.trained import Adjust, EpochMetrics, Stop, StoppedBy

_EVALUATED = 64
"""Pictures a pass when the validation split is measured."""
Floats = npt.NDArray[np.float32]


@dataclass
class Progress:
    """How far a training has come: what a checkpoint holds beside the weights."""

    step: int = 0
    loss_sum: float = 0.0
    """Of this epoch so far, over ``pictures``."""
    pictures: int = 0
    parts: int = 1
    lr_factor: float = 1.0
    """What a callback has made of the learning rate."""
    history: list[EpochMetrics] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class FineTuned:
    """How a training went; the network holds the weights of the best epoch."""

    history: list[EpochMetrics]
    best_epoch: int
    stopped_by: StoppedBy
    stop: Stop | None
    steps: int


@kept_memory()
def fine_tune(
    network: Network,
    inputs: Inputs,
    data: HeadData,
    config: FineTuneConfig,
    *,
    history: Sequence[EpochMetrics] = (),
    callback: Callback,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    note: Callable[[str], None] = lambda text: None,
    group: Group | None = None,
    end: float | None = None,
) -> FineTuned:
    """Train until the epochs are done, a callback wishes to stop or patience ends, and keep the best epoch: the one
    with the lowest cross-entropy on the validation pictures at its best temperature.

    Parameters
    ----------
    group:
        The processes that call this together, all with the same arguments but for the checkpoint and those who watch:
        what the first one's say holds for all.
    end:
        When the last epoch must be done, in seconds since 1970: where the machine is too slow for all of them there are
        fewer, and the learning rate falls in time.

    Raises
    ------
    VizslaError
        When the first epoch diverges, and none of ``history`` was before it.
    """
    group = group or Group()
    device = next(network.parameters()).device
    epochs, per_epoch = config.epochs or 1, math.ceil(len(data.train) / config.batch_size)
    pace = Pace(epochs * per_epoch, per_epoch, end, note)
    groups = layer_groups(network.head, network.named_weights())
    optimizer = make_optimizer(groups, config)
    loss_of = Loss(data, config, device)
    average = {name: p.detach().clone() for name, p in network.named_parameters()} if config.ema else {}
    progress = Progress(parts=config.accumulation, history=[*history])
    if (kept := group.agreed(None if checkpoint is None else checkpoint.load())) is not None:
        restore(kept[1], network, optimizer, average, progress, pace)
        for metrics in progress.history[len(history) :]:
            callback.on_epoch(metrics, epochs + len(history))
    stop: Stop | None = None
    stopped_by: StoppedBy = "epochs"
    callback.on_network(network, network.head.out_features)
    while progress.step < pace.total and stop is None and not out_of_patience(progress, config):
        epoch, first = divmod(progress.step, per_epoch)
        order = list(batches(data.train, data.labels, config.batch_size, config.seed, epoch, balanced=loss_of.sampled))
        network.prepare()
        thaw(groups, epoch, config)
        replica = group.replica(network)
        drawn = callback.batches(inputs.epoch(order, [config.seed, epoch], first, group.share))
        for rows, batch in zip(order[first:], drawn, strict=True):
            lr = learning_rate(pace.share(progress.step), config) * progress.lr_factor
            for layers, options in zip(groups, optimizer.param_groups, strict=True):
                options["lr"] = layers.factor(config) * lr
            loss = take_step(replica, optimizer, loss_of, batch, rows, progress, config, note, group)
            callback.on_loss(loss)
            if not math.isfinite(loss):
                whole = group.mean(float(torch.isfinite(batch).all())) == 1
                cause = f"lr={config.lr:g} is too high for it" if whole else "what the blocks get holds no numbers"
                diverged(progress, cause, note, earlier=bool(history))
                stopped_by = "divergence"
                break
            for name, parameter in network.named_parameters() if average else ():
                average[name].lerp_(parameter.detach(), 1 - config.ema)
            progress.step += 1
            progress.loss_sum, progress.pictures = progress.loss_sum + loss * len(rows), progress.pictures + len(rows)
            on_step(progress.step, pace.total)
            if checkpoint is not None and progress.step % per_epoch:
                checkpoint.offer(progress.step, lambda: state(network, optimizer, average, progress, pace))
            asked = callback.adjustment(), callback.on_step(progress.step), pace.fitting(progress.step)
            change, stop, fitting = group.agreed(asked)
            pace.change(progress.step, fitting)
            if change is not None:
                adjust(change, network, progress, note)
            if stop is not None:
                stopped_by = "watcher"
                break
            if progress.step >= pace.total:
                break
        if stopped_by != "epochs":
            break
        began = time.monotonic()
        with swapped(network, average):
            number = len(progress.history) + 1
            metrics = measure(network, inputs, data, number, progress.loss_sum / progress.pictures, group)
            progress.history.append(metrics)
            progress.loss_sum, progress.pictures = 0.0, 0
            if metrics.valid_loss <= min(m.valid_loss for m in progress.history[len(history) :]):
                progress.best_epoch = number
                progress.best = {name: p.detach().clone() for name, p in network.named_parameters()}
                progress.best |= {name: b.detach().clone() for name, b in network.named_buffers()}
        pace.evaluated(time.monotonic() - began)
        epochs = math.ceil(pace.total / per_epoch)
        if (stop := group.agreed(callback.on_epoch(metrics, epochs + len(history)))) is not None:
            stopped_by = "watcher"
        if checkpoint is not None:
            checkpoint.offer(progress.step, lambda: state(network, optimizer, average, progress, pace))
    if stopped_by == "epochs":
        if checkpoint is not None:
            checkpoint.write(progress.step, state(network, optimizer, average, progress, pace))
        if progress.step < pace.total:
            stopped_by = "patience"
    if progress.best:
        fill(network, progress.best)
    return FineTuned(progress.history, progress.best_epoch, stopped_by, stop, progress.step)


def out_of_patience(progress: Progress, config: FineTuneConfig) -> bool:
    """Whether the last epochs, as many as the patience, were no better than one before."""
    waited = len(progress.history) - progress.best_epoch if progress.best else 0
    return config.patience is not None and waited >= config.patience


def adjust(change: Adjust, network: Network, progress: Progress, note: Callable[[str], None]) -> None:
    """Train on as a callback wishes."""
    progress.lr_factor *= change.lr_factor
    back = change.roll_back and bool(progress.best)
    if back:
        fill(network, progress.best)
    note(
        f"By {change.by}: {change.reason}. From step {progress.step + 1:,} on the learning rate is "
        f"{progress.lr_factor:g} times what it was"
        + (f", from the weights of epoch {progress.best_epoch}." if back else ".")
    )


class Loss:
    """Cross-entropy with label smoothing and class weights, over a batch in parts."""

    def __init__(self, data: HeadData, config: FineTuneConfig, device: torch.device) -> None:
        self.sampled = config.balance == "sampling"
        weights = data.class_weights(data.train) if config.balance == "weights" else np.ones(data.classes, np.float32)
        self._weights = torch.from_numpy(weights).to(device)
        self._labels = torch.from_numpy(data.labels.astype(np.int64))
        self._smoothing = config.label_smoothing

    def labels(self, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """(n,) int64 on the device."""
        return self._labels[torch.from_numpy(rows)].to(self._weights.device)

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The sum over the pictures, each weighed."""
        return functional.cross_entropy(logits, labels, self._weights, label_smoothing=self._smoothing, reduction="sum")

    def weight(self, labels: torch.Tensor) -> float:
        """What the sum is divided by."""
        return float(self._weights[labels].sum())


def take_step(
    replica: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    batch: torch.Tensor,
    rows: npt.NDArray[np.int64],
    progress: Progress,
    config: FineTuneConfig,
    note: Callable[[str], None],
    group: Group,
) -> float:
    """One step on a batch, of which ``batch`` is this process's share, in as many parts as memory asks for; the mean
    loss of the whole batch before it."""
    labels = loss_of.labels(rows)
    weight, scale = loss_of.weight(labels), group.scale(len(rows))
    seed = [config.seed, progress.step, 1]
    batch, share, order = blended_share(batch, len(rows), config.mixup, config.cutmix, seed, group)
    labels, others = labels[torch.from_numpy(group.share(len(rows)))], labels[order]
    while True:
        optimizer.zero_grad(set_to_none=True)
        try:
            total = 0.0
            count = max(1, min(progress.parts, len(rows) // group.size))  # as many in every process
            parts = torch.arange(len(labels), device=batch.device).tensor_split(count)
            for at, part in enumerate(parts, 1):
                with group.apart(replica) if at < len(parts) else contextlib.nullcontext():
                    logits = replica(batch[part])
                    loss = share * loss_of(logits, labels[part])
                    if share < 1:
                        loss = loss + (1 - share) * loss_of(logits, others[part])
                    (scale * loss / weight).backward()
                total += scale * float(loss.detach())
            break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or progress.parts >= len(labels) or group.size > 1:
                raise
            progress.parts = min(2 * progress.parts, len(labels))
            note(
                f"The memory does not hold {len(rows)} pictures at once: from now on each step takes them in "
                f"{progress.parts} parts, to the same result."
            )
    total = group.mean(total)
    if math.isfinite(total):
        if config.clip:
            nn.utils.clip_grad_norm_([p for p in replica.parameters() if p.grad is not None], config.clip)
        optimizer.step()
    return total / weight


def out_of_memory(error: BaseException) -> bool:
    """Whether it says so: torch has no class of its own for the processor's memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def diverged(progress: Progress, cause: str, note: Callable[[str], None], *, earlier: bool) -> None:
    """Say that the loss is no number, and what is kept. ``earlier``: whether another training came before this one.

    Raises
    ------
    VizslaError
        When there is no epoch to go back to.
    """
    if not progress.best and not earlier:
        raise VizslaError(
            f"Training diverged: in step {progress.step + 1} the loss is no longer a number, as {cause}.",
            do=f"lower {spelled('lr')}; nothing but this training is lost",
        )
    back = f"epoch {progress.best_epoch}" if progress.best else "what was before it"
    note(f"Training diverged in step {progress.step + 1}, as {cause}: it went back to {back}.")


def measure(
    network: Network, inputs: Inputs, data: HeadData, epoch: int, train_loss: float, group: Group
) -> EpochMetrics:
    """The validation split's loss (nats, at the best temperature) and accuracy."""
    logits = predict(network, inputs, data.valid, group)
    labels = data.labels[data.valid]
    loss = float(losses(logits, labels, best_temperature(logits, labels)).mean())
    return EpochMetrics(epoch, train_loss, loss, float((logits.argmax(axis=1) == labels).mean()))


def predict(network: Network, inputs: Inputs, rows: npt.NDArray[np.int64], group: Group | None = None) -> Floats:
    """Logits (len(rows), classes) of the plain pictures."""
    group = group or Group()
    network.eval()
    with torch.inference_mode():
        share = [network(inputs.plain(chunk)).cpu() for chunk in chunks(rows[group.share(len(rows))], _EVALUATED)]
        logits: Floats = group.whole(torch.cat(share), len(rows)).numpy()
    return logits


def state(
    network: Network, optimizer: torch.optim.Optimizer, average: dict[str, torch.Tensor], progress: Progress, pace: Pace
) -> State:
    """All that the following steps follow from, as arrays."""
    arrays = {f"network/{name}": tensor for name, tensor in tensors(network)}
    arrays |= {f"average/{name}": tensor for name, tensor in average.items()}
    arrays |= {f"best/{name}": tensor for name, tensor in progress.best.items()}
    for at, values in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer/{at}/{name}": value for name, value in values.items() if value is not None}
    result = {name: tensor.detach().cpu().numpy().copy() for name, tensor in arrays.items()}
    rows: Iterable[tuple[float, ...]] = [
        (m.epoch, m.train_loss, m.valid_loss, m.valid_accuracy) for m in progress.history
    ]
    result["history"] = np.array([*rows], np.float64).reshape(-1, 4)
    counts = (
        progress.step,
        progress.loss_sum,
        progress.pictures,
        progress.parts,
        progress.best_epoch,
        progress.lr_factor,
        pace.total,
        pace.changed_at,
        pace.share_then,
    )
    result["progress"] = np.array(counts, np.float64)
    return result


def restore(
    arrays: State,
    network: Network,
    optimizer: torch.optim.Optimizer,
    average: dict[str, torch.Tensor],
    progress: Progress,
    pace: Pace,
) -> None:
    """Go on from what :func:`state` gave."""

    def named(prefix: str) -> dict[str, torch.Tensor]:
        start = f"{prefix}/"
        return {n.removeprefix(start): torch.from_numpy(a.copy()) for n, a in arrays.items() if n.startswith(start)}

    fill(network, named("network"))
    for name, tensor in named("average").items():
        average[name].copy_(tensor.reshape(average[name].shape))
    progress.best = named("best")
    values: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in named("optimizer").items():
        at, _, key = name.partition("/")
        values.setdefault(int(at), {})[key] = tensor.reshape(()) if key == "step" else tensor  # no array is 0-d there
    optimizer.load_state_dict(optimizer.state_dict() | {"state": values})
    progress.history = [EpochMetrics(int(e), *rest) for e, *rest in arrays["history"].tolist()]
    counts, steps = np.split(arrays["progress"], [6])
    step, progress.loss_sum, pictures, parts, best, progress.lr_factor = counts.tolist()
    progress.step, progress.pictures, progress.parts, progress.best_epoch = map(int, (step, pictures, parts, best))
    total, changed_at, pace.share_then = steps.tolist()
    pace.total, pace.changed_at = int(total), int(changed_at)
