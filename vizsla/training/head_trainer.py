"""A head on a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vizsla.errors import VizslaError
from vizsla.files import sha256_json
from vizsla.parameters import spelled
from vizsla.training.callbacks import Callback
from vizsla.training.checkpoint import Checkpoint, interval
from vizsla.training.config import HeadConfig, StepConfig
from vizsla.training.heads import train_heads
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.training.trainer import Frozen, Trainer, Training

CHECKPOINT = "head.checkpoint"


class HeadTrainer(Trainer):
    """Trains one head, in steps from a checkpoint if there is one. An optimum is found in seconds and needs none.

    Parameters
    ----------
    note:
        Is told in words what was done about a checkpoint.
    interval:
        See :class:`~vizsla.training.checkpoint.Checkpoint`.
    """

    def __init__(
        self,
        folder: Path,
        config: HeadConfig,
        note: Callable[[str], None] = lambda text: None,
        interval: Callable[[float], float] = interval,
    ) -> None:
        super().__init__(folder)
        self._config, self._note, self._interval = config, note, interval
        self._checkpoint: Checkpoint | None = None

    @property
    def phase(self) -> tuple[str, int | None]:
        return "head", self._config.epochs if isinstance(self._config, StepConfig) else None

    def train(self, frozen: Frozen, callback: Callback) -> Training:
        config, stopped, steps = self._config, list[Stop](), 0

        def on_step() -> bool:
            nonlocal steps
            steps += 1
            if (stop := callback.on_step(steps)) is not None:
                stopped.append(stop)
            return bool(stopped)

        def on_epoch(metrics: dict[int, EpochMetrics]) -> Iterable[int]:
            epochs = config.epochs if isinstance(config, StepConfig) else None
            if (stop := callback.on_epoch(metrics[0], epochs)) is not None:
                stopped.append(stop)
            return [0] if stopped else []

        if isinstance(config, StepConfig):
            identity = sha256_json([frozen.identity, config.to_dict()])
            self._checkpoint = Checkpoint(self.folder / CHECKPOINT, identity, self._note, self._interval)
        (trained,) = train_heads(frozen.data, [config], on_epoch, self._checkpoint, on_step)
        if not all(np.isfinite(tensor).all() for tensor in trained.head.tensors().values()):
            raise VizslaError(
                f"Training diverged: after epoch {len(trained.history)} the loss is no longer a number.",
                where=f"lr={config.lr:g}" if isinstance(config, StepConfig) else None,
                do=f"lower {spelled('lr')}",
            )
        if trained.stopped_by == "watcher" and stopped:
            trained = replace(trained, stop=stopped[0])
        return Training(frozen.backbone, trained)

    def clear(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.remove()
