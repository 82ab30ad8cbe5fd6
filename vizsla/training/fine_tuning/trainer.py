"""A trainer that reaches into the backbone: its last blocks, or all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vizsla.errors import DataError
from vizsla.files import sha256_json
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import spelled
from vizsla.training.callbacks import Callback, Callbacks, Deadline
from vizsla.training.checkpoint import Checkpoint, interval
from vizsla.training.config import LbfgsConfig
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.heads import train_heads
from vizsla.training.temperature import best_temperature
from vizsla.training.trained import EpochMetrics, TrainedHead
from vizsla.training.trainer import Frozen, Trainer, Training

if TYPE_CHECKING:
    from vizsla.training.fine_tuning.loop import Network
    from vizsla.training.fine_tuning.pictures import Pictures
    from vizsla.training.fine_tuning.stage import Workshop


class FineTuner(Trainer):
    """Trains the blocks behind a cut, or all of a backbone, from the best head of the frozen one on.

    Where the validation pictures bear out no gain beyond chance, the frozen backbone and its head are the result.

    Parameters
    ----------
    cache:
        Where pixels and activations are kept.
    threads:
        Cores.
    deadline:
        A moment of ``time.monotonic()`` at which all must be done: the rest of the job is reckoned with.
    on_progress:
        Told (done, total) of the phase that runs.
    note:
        Told in words what was decided.
    """

    def __init__(
        self,
        folder: Path,
        config: FineTuneConfig,
        spec: BackboneSpec,
        pictures: Pictures,
        cache: Path,
        *,
        threads: int,
        deadline: float | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
        note: Callable[[str], None] = lambda text: None,
        interval: Callable[[float], float] = interval,
    ) -> None:
        super().__init__(folder)
        self._config, self._spec, self._pictures, self._cache = config, spec, pictures, cache
        self._threads, self._deadline, self._on_progress = threads, deadline, on_progress
        self._note, self._interval = note, interval
        self._checkpoints: list[Checkpoint] = []

    @property
    def phase(self) -> tuple[str, int | None]:
        return "fine-tuning", None

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        import torch

        from vizsla.models.backbone import load_backbone
        from vizsla.models.export import export
        from vizsla.training.fine_tuning.schedule import stages
        from vizsla.training.fine_tuning.stage import Workshop, best_device

        config, data = self._config, frozen.data
        if not len(data.valid):
            raise DataError(
                "Fine-tuning needs validation pictures, which tell what has gained.",
                do=f"train the head alone: {spelled('depth', 'head')}",
            )
        (start,) = train_heads(data, [LbfgsConfig(balance=config.balance, seed=config.seed)])
        assert isinstance(start.head, LinearHead)
        torch.set_num_threads(self._threads)
        backbone = load_backbone(self._spec)
        workshop = Workshop(
            backbone,
            frozen.backbone.sha256,
            self._pictures,
            data,
            self._cache,
            self._threads,
            best_device(),
            callback,
            self._on_progress,
        )
        callback.on_phase("plan", None)
        callback = Callbacks([callback, Deadline(self._deadline)])
        seconds = None if self._deadline is None else self._deadline - time.monotonic()
        best, labels = start, data.labels[data.valid]
        logits = start.head.logits(data.table.take(data.valid))
        history: list[EpochMetrics] = []
        for stage in stages(self.folder, workshop, config, start.head, seconds, self._note):
            before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
            assert isinstance(best.head, LinearHead)
            result, answers = self._stage(workshop, stage, best.head, frozen.identity, history, callback)
            if len(result.history) > len(history):
                gain = Gain.of(logits, answers, labels)
                self._note(f"Trained at depth {stage.depth}: {gain.words}")
                if gain.kept:
                    best, logits = result, answers
                else:
                    backbone.module.load_state_dict(before)
            history = result.history
            if result.stop is not None:
                best = replace(best, stop=result.stop)
                break
        if not isinstance(best.config, FineTuneConfig):
            return Training(frozen.backbone, best)
        callback.on_phase("export", None)
        backbone.module.to("cpu").eval().requires_grad_(False)
        weights = f"{frozen.backbone.weights}, then trained (depth {best.config.depth})"
        best = replace(best, history=history)
        return Training(export(backbone, frozen.backbone.name, weights, self._cache), best, start)

    def _stage(
        self,
        workshop: Workshop,
        config: FineTuneConfig,
        head: LinearHead,
        identity: str,
        history: list[EpochMetrics],
        callback: Callback,
    ) -> tuple[TrainedHead, npt.NDArray[np.float32]]:
        """One depth, from a head on; what came of it, and its logits of the validation pictures."""
        import torch

        from vizsla.training.fine_tuning.loop import Network, fine_tune, predict

        data = workshop.data
        body, inputs = workshop.inputs(config)
        network = Network.of(body, head, workshop.device)
        if config.depth == "full":
            network.trains_statistics = self._trains_statistics(network, config)
        identity = sha256_json([identity, config.to_dict(), len(history), torch.__version__, self._threads])
        path = self.folder / f"{config.depth}.checkpoint"
        self._checkpoints.append(Checkpoint(path, identity, self._note, self._interval, "step"))
        callback.on_phase("epochs", None)
        result = fine_tune(
            network,
            inputs,
            data,
            config,
            history=history,
            callback=callback,
            checkpoint=self._checkpoints[-1],
            on_step=self._on_progress,
            note=self._note,
        )
        logits = predict(network, inputs, data.valid)
        temperature = best_temperature(logits, data.labels[data.valid])
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

    def _trains_statistics(self, network: Network, config: FineTuneConfig) -> bool:
        if config.batch_norm != "auto":
            return config.batch_norm == "train"
        means = [buffer for name, buffer in network.named_buffers() if name.endswith("running_mean")]
        folded = bool(means) and not self._spec.random_init and not any(bool(mean.any()) for mean in means)
        if folded:
            self._note(
                "In these weights batch normalisation is folded into the convolutions, so its statistics stay as they "
                "are: training with those of a batch would destroy them."
            )
        return bool(means) and not folded

    def clear(self) -> None:
        for checkpoint in self._checkpoints:
            checkpoint.remove()
