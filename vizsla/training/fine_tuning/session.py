"""A backbone that is trained, perhaps several times, on one data set. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from vizsla.errors import DataError
from vizsla.files import sha256_json
from vizsla.models.backbone import load_backbone
from vizsla.models.export import export
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import spelled
from vizsla.training.callbacks import Callback
from vizsla.training.checkpoint import Checkpoint
from vizsla.training.config import Balance, LbfgsConfig
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.launcher import Launcher
from vizsla.training.fine_tuning.loop import FineTuned, fine_tune, predict
from vizsla.training.fine_tuning.network import Network
from vizsla.training.fine_tuning.pictures import Pictures
from vizsla.training.fine_tuning.stage import Workshop, best_device
from vizsla.training.heads import train_heads
from vizsla.training.temperature import best_temperature
from vizsla.training.trained import EpochMetrics, TrainedHead
from vizsla.training.trainer import Frozen, Training

Weights = dict[str, torch.Tensor]


class Session:
    """The backbone with its weights as they are now, the head that the frozen one has, and what both train on.

    Parameters
    ----------
    spec:
        Of the backbone that ``frozen`` was exported from.
    cache:
        Where pixels and activations are kept.
    on_progress:
        Told (done, total) of the phase that runs.
    launcher:
        Starts the processes of a training that is shared by several.
    deadline:
        A moment of ``time.monotonic()``, after which no more inputs are made.

    Raises
    ------
    DataError
        When there are no validation pictures.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        frozen: Frozen,
        pictures: Pictures,
        cache: Path,
        balance: Balance,
        seed: int,
        *,
        threads: int,
        callback: Callback,
        on_progress: Callable[[int, int], None],
        note: Callable[[str], None],
        launcher: Launcher,
        deadline: float | None = None,
    ) -> None:
        data = frozen.data
        if not len(data.valid):
            raise DataError(
                "Fine-tuning needs validation pictures, which tell what has gained.",
                do=f"train the head alone: {spelled('depth', 'head')}",
            )
        (self.start,) = train_heads(data, [LbfgsConfig(balance=balance, seed=seed)])
        assert isinstance(self.start.head, LinearHead)
        torch.set_num_threads(threads)
        self.head = self.start.head
        self.logits: npt.NDArray[np.float32] = self.head.logits(data.table.take(data.valid))
        """Of the frozen backbone's head, for the validation pictures."""
        self.labels = data.labels[data.valid]
        self.backbone = load_backbone(spec)
        cache = cache.absolute()  # other processes may have other working directories
        self.spec, self._frozen, self._cache = spec, frozen, cache
        self._on_progress, self._note, self.launcher = on_progress, note, launcher
        self.workshop = Workshop(
            self.backbone,
            frozen.backbone.sha256,
            pictures,
            data,
            cache,
            threads,
            best_device(),
            callback,
            on_progress,
            deadline,
        )

    @property
    def weights(self) -> Weights:
        """A copy of the backbone's weights and statistics."""
        return {name: tensor.clone() for name, tensor in self.backbone.module.state_dict().items()}

    @weights.setter
    def weights(self, weights: Weights) -> None:
        self.backbone.module.load_state_dict(weights)

    def identity(self, config: FineTuneConfig, epochs: int) -> str:
        """SHA-256 over all that a training follows from, ``epochs`` after others."""
        parts = [self._frozen.identity, config.to_dict(), epochs, torch.__version__, self.workshop.threads]
        return sha256_json(parts)

    def train(
        self,
        config: FineTuneConfig,
        head: LinearHead,
        callback: Callback,
        checkpoint: Checkpoint,
        history: list[EpochMetrics],
        end: float | None = None,
    ) -> tuple[TrainedHead, npt.NDArray[np.float32]]:
        """Train one depth from a head on, after the epochs of ``history``, until ``end`` in seconds since 1970; what
        came of it, and its logits of the validation pictures. The backbone has the weights of the best epoch.

        Raises
        ------
        DeadlineError
            When the deadline passes before there is anything to train on.
        StorageError
            When the disk cannot hold what it trains on.
        """
        data = self.workshop.data
        body, inputs = self.workshop.inputs(config)
        network = Network.of(body, head, self.workshop.device)
        network.bfloat16 = config.precision == "bfloat16"
        if config.depth == "full":
            network.trains_statistics = self._trains_statistics(network, config)
            if network.trains_statistics and self.spec.random_init:
                # Its head stands on statistics that are nobody's: on those of a batch its weights are far too large.
                torch.nn.init.zeros_(network.head.weight)
                torch.nn.init.zeros_(network.head.bias)
        self.workshop.callback.on_phase("epochs", None)
        train: Callable[..., FineTuned] = fine_tune
        if (config.processes or 1) > 1:
            train = partial(self.launcher.fine_tune, self.backbone, threads=self.workshop.threads)
        result = train(
            network,
            inputs,
            data,
            config,
            history=history,
            callback=callback,
            checkpoint=checkpoint,
            on_step=self._on_progress,
            note=self._note,
            end=end,
        )
        network.bfloat16 = False
        logits = predict(network, inputs, data.valid)
        temperature = best_temperature(logits, self.labels)
        weight, bias = (tensor.detach().cpu().numpy() / temperature for tensor in network.head.parameters())
        trained = TrainedHead(
            config=config,
            head=LinearHead(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)),
            best_epoch=result.best_epoch,
            stopped_by=result.stopped_by,
            history=result.history,
            iterations=result.steps,
            stop=result.stop,
        )
        return trained, logits

    def result(self, best: TrainedHead, history: list[EpochMetrics]) -> Training:
        """The backbone as it is now with its head, exported; or the frozen one with its own, where that is best."""
        frozen = self._frozen.backbone
        if not isinstance(best.config, FineTuneConfig):
            return Training(frozen, best)
        self.workshop.callback.on_phase("export", None)
        self.backbone.module.to("cpu").eval().requires_grad_(False)
        weights = f"{frozen.weights}, then trained (depth {best.config.depth})"
        best = replace(best, history=history)
        return Training(export(self.backbone, frozen.name, weights, self._cache), best, self.start)

    def _trains_statistics(self, network: Network, config: FineTuneConfig) -> bool:
        if config.batch_norm != "auto":
            return config.batch_norm == "train"
        means = [buffer for name, buffer in network.named_buffers() if name.endswith("running_mean")]
        folded = bool(means) and not self.spec.random_init and not any(bool(mean.any()) for mean in means)
        if folded:
            self._note(
                "In these weights batch normalisation is folded into the convolutions, so its statistics stay as they "
                "are: training with those of a batch would destroy them."
            )
        return bool(means) and not folded
