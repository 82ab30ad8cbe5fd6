"""A trainer tells its callbacks everything in order, and ends when one of them wishes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.errors import VizslaError
from vizsla.models.export import ExportedBackbone
from vizsla.training.callbacks import Callback, Callbacks
from vizsla.training.config import HeadConfig, LbfgsConfig, StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.head_trainer import HeadTrainer
from vizsla.training.table import FeatureTable
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.training.trainer import Frozen, Training

STEPS = StepConfig(lr=0.01, epochs=6, patience=None, batch_size=32)


class Ears(Callback):
    """Remembers what it was told; wishes to stop after so many steps or epochs."""

    def __init__(self, name: str = "ears", steps: int | None = None, epochs: int | None = None) -> None:
        self.name, self.steps, self.epochs = name, steps, epochs
        self.heard: list[Any] = []

    def on_phase(self, name: str, total: int | None) -> None:
        self.heard.append(name)

    def on_step(self, step: int) -> Stop | None:
        self.heard.append(step)
        return Stop(self.name, "enough steps") if step == self.steps else None

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        self.heard.append(metrics)
        return Stop(self.name, "enough epochs") if metrics.epoch == self.epochs else None


def frozen(tiny_backbone: ExportedBackbone) -> Frozen:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200).astype(np.int32)
    features = (np.eye(3, 8)[labels] * 2 + rng.normal(size=(200, 8))).astype(np.float32)
    data = HeadData(FeatureTable.of(features), labels, np.arange(140), np.arange(140, 200), 3)
    return Frozen(tiny_backbone, data, "flowers and a backbone", "ab" * 32)


def train(config: HeadConfig, folder: Path, backbone: ExportedBackbone, *callbacks: Callback) -> Training:
    return HeadTrainer(folder, config).train(frozen(backbone), Callbacks(callbacks))


def test_every_epoch_is_told_to_every_callback(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    first, second = Ears(), Ears()
    training = train(STEPS, tmp_path, tiny_backbone, first, second)
    epochs = [heard for heard in first.heard if isinstance(heard, EpochMetrics)]
    assert epochs == training.trained.history
    assert len(epochs) == 6
    assert first.heard == second.heard
    assert training.backbone is tiny_backbone


@pytest.mark.parametrize("config", [STEPS, LbfgsConfig()])
def test_the_wish_to_stop_ends_training_and_is_kept(
    config: HeadConfig, tiny_backbone: ExportedBackbone, tmp_path: Path
) -> None:
    steps = 3 if isinstance(config, LbfgsConfig) else 8  # the batches of an epoch are five
    training = train(config, tmp_path, tiny_backbone, Ears(), Ears("rule", steps=steps))
    assert training.trained.stop == Stop("rule", "enough steps")
    assert training.trained.stopped_by == "watcher"
    assert np.isfinite(training.trained.head.probabilities(frozen(tiny_backbone).data.table.take(np.arange(5)))).all()
    if config is STEPS:
        assert len(training.trained.history) == 2


def test_the_first_wish_counts_and_all_are_told(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    early, late = Ears("early", epochs=2), Ears("late", epochs=2)
    training = train(STEPS, tmp_path, tiny_backbone, early, late)
    assert training.trained.stop == Stop("early", "enough epochs")
    assert early.heard == late.heard


def test_a_head_at_its_optimum_is_told_once(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    ears = Ears()
    train(LbfgsConfig(), tmp_path, tiny_backbone, ears)
    steps = [heard for heard in ears.heard if isinstance(heard, int)]
    assert steps == list(range(1, len(steps) + 1))
    assert [type(heard) for heard in ears.heard].count(EpochMetrics) == 1


def test_goes_on_from_what_a_killed_attempt_left(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    whole = train(STEPS, tmp_path / "whole", tiny_backbone)

    class Killed(Callback):
        def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
            if metrics.epoch == 5:
                raise KeyboardInterrupt
            return None

    (tmp_path / "cut").mkdir()
    trainer = HeadTrainer(tmp_path / "cut", STEPS, interval=lambda cost: 0.0)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(frozen(tiny_backbone), Killed())
    told: list[str] = []
    again = HeadTrainer(tmp_path / "cut", STEPS, told.append, interval=lambda cost: 0.0)
    training = again.train(frozen(tiny_backbone), Callback())
    assert told == ["Training goes on after epoch 4."]
    assert np.array_equal(training.trained.head.tensors()["weight"], whole.trained.head.tensors()["weight"])
    again.clear()
    assert list((tmp_path / "cut").iterdir()) == []


def test_a_diverged_training_names_the_learning_rate(tiny_backbone: ExportedBackbone, tmp_path: Path) -> None:
    with pytest.raises(VizslaError, match="the loss is no longer a number") as error:
        train(StepConfig(optimizer="sgd", lr=1e39, momentum=0), tmp_path, tiny_backbone)
    assert error.value.where == "lr=1e+39"
