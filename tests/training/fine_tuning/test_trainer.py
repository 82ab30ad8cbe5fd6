"""Training the backbone: both depths, to the same bits after an end anywhere, and what can go wrong."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.fine_tuning.conftest import Setting
from vizsla.errors import DataError, StorageError, UsageError, VizslaError
from vizsla.models.engine import OnnxEngine
from vizsla.models.heads.linear import LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.training.callbacks import Callback
from vizsla.training.fine_tuning import layers, loop, schedule, stage
from vizsla.training.fine_tuning.config import FineTuneConfig
from vizsla.training.fine_tuning.gain import Gain
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.training.trainer import Training

LAST = FineTuneConfig("last", epochs=3, batch_size=8, views=2, lr=3e-3)
FULL = FineTuneConfig("full", epochs=2, batch_size=8, lr=3e-3, augmentation="light")


class EndsIt(Callback):
    """Ends the process's work after a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int) -> Stop | None:
        if step == self.step:
            raise KeyboardInterrupt
        return None


def bits(training: Training) -> tuple[str, bytes]:
    assert isinstance(training.trained.head, LinearHead)
    return training.backbone.sha256, training.trained.head.weight.tobytes()


@pytest.fixture(scope="module")
def last(colours: Setting, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """What a training of the last blocks gives, for tests that hold another one against it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gain, "kept", property(lambda gain: True))
        return replace(colours, notes=[]).train(tmp_path_factory.mktemp("last") / "job", LAST)


@pytest.mark.parametrize("config", [LAST, FULL, replace(FULL, ema=0.9, mixup=0.2, cutmix=1.0, batch_norm="train")])
def test_an_end_anywhere_leads_to_the_same_bits(
    setting: Setting, tmp_path: Path, config: FineTuneConfig, last: Training
) -> None:
    whole = last if config == LAST else setting.train(tmp_path / "whole", config)
    assert whole.backbone.sha256 != setting.frozen.backbone.sha256
    assert len(whole.trained.history) == config.epochs
    for step in (2, 4):  # within the first epoch of three steps, and within the second
        with pytest.raises(KeyboardInterrupt):
            setting.train(tmp_path / "ended", config, EndsIt(step), interval=lambda cost: 0.0)
    resumed = setting.train(tmp_path / "ended", config, interval=lambda cost: 0.0)
    assert any("Training goes on after step" in note for note in setting.notes)
    assert bits(resumed) == bits(whole)
    assert resumed.trained.history == whole.trained.history


class Slow(Callback):
    """A machine that others use since the training was planned."""

    def on_step(self, step: int) -> Stop | None:
        time.sleep(0.1)
        return None


def test_on_a_machine_that_became_slower_the_learning_rate_still_falls_in_time(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_LEAST_SECONDS", 0.0)
    rates: list[float] = []
    rate_at = layers.learning_rate
    monkeypatch.setattr(loop, "learning_rate", lambda *asked: rates.append(rate_at(*asked)) or rates[-1])
    config = replace(LAST, epochs=40)
    training = setting.train(tmp_path / "job", config, Slow(), deadline=time.monotonic() + 8)
    assert len(training.trained.history) < 40
    assert training.trained.stop is None, "not cut off"
    assert rates[-1] < 0.05 * max(rates)
    assert any("there is time for" in note for note in setting.notes), setting.notes


def test_the_same_seed_gives_the_same_bits_and_another_one_others(
    setting: Setting, tmp_path: Path, last: Training
) -> None:
    again, other = (setting.train(tmp_path / f"{seed}", replace(LAST, seed=seed)) for seed in (0, 1))
    assert bits(last) == bits(again) != bits(other)


def test_both_depths_learn_what_the_frozen_backbone_misses(setting: Setting, tmp_path: Path) -> None:
    for config in (replace(LAST, epochs=8), replace(FULL, epochs=6)):
        training = setting.train(tmp_path / config.depth, config)
        assert training.trained.history[-1].train_loss < training.trained.history[0].train_loss
        assert training.frozen is not None
        labels = setting.frozen.data.labels[setting.frozen.data.valid]
        assert training.trained.best.valid_accuracy >= 0.9, len(labels)


def test_what_gains_nothing_is_not_kept(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gain, "kept", property(lambda gain: False))
    training = setting.train(tmp_path / "a", LAST)
    assert training.backbone is setting.frozen.backbone
    assert training.frozen is None
    assert training.remarks == (setting.notes[-1],)
    assert "That may be chance: what was before is kept." in setting.notes[-1]


def test_no_disk_for_the_activations(
    setting: Setting, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIZSLA_CACHE", str(small_disk))
    with pytest.raises(StorageError) as caught:
        setting.train(tmp_path / "job", replace(LAST, cut="layer2.0", views=3))
    assert caught.value.what.startswith("There is no room for the activations before layer2.0: 0.0 GB")
    assert "lower views" in str(caught.value.do)
    assert not list(small_disk.iterdir()), "said before any picture is decoded"


def test_a_disk_that_fills_up_before_all_blocks_train_leaves_what_the_last_ones_gained(
    setting: Setting, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = stage.Workshop.inputs

    def inputs(workshop: stage.Workshop, config: FineTuneConfig) -> Any:
        return make(replace(workshop, cache=small_disk) if config.depth == "full" else workshop, config)

    monkeypatch.setattr(stage.Workshop, "inputs", inputs)
    (small_disk / "other").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 4096))
    training = setting.train(tmp_path / "a", FineTuneConfig("auto", epochs=2, batch_size=8, views=1, lr=3e-3))
    assert isinstance(training.trained.config, FineTuneConfig)
    assert training.trained.config.depth == "last"
    assert any(note.startswith("Depth full cannot train: The disk is full") for note in setting.notes), setting.notes


def test_what_training_begins_with_ends_in_time_too(setting: Setting, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(schedule, "_LEAST_SECONDS", 0.0)
    make = OnnxEngine.activations

    def slow(engine: OnnxEngine, pictures: Any) -> Any:
        if "activations" in setting.notes:
            time.sleep(0.5)  # another program came, after the time was planned
        return make(engine, pictures)

    class Phases(Callback):
        def on_phase(self, name: str, total: int | None) -> None:
            setting.notes.append(name)

    monkeypatch.setattr(OnnxEngine, "activations", slow)
    monkeypatch.setenv("VIZSLA_CACHE", str(tmp_path / "cache"))
    began = time.monotonic()
    training = setting.train(tmp_path / "a", LAST, Phases(), deadline=began + 4)
    assert time.monotonic() - began < 8, "36 pictures at half a second would take 18 s"
    assert training.backbone is setting.frozen.backbone
    assert training.trained.stop is not None
    assert "before there was anything to train on at depth last" in training.trained.stop.reason


def test_blocks_below_learn_less_and_later(setting: Setting) -> None:
    from vizsla.models.backbone import load_backbone
    from vizsla.models.trunk import Features

    backbone = load_backbone(setting.spec)
    head = LinearHead(np.zeros((2, backbone.features), np.float32), np.zeros(2, np.float32))
    network = loop.Network.of(Features(backbone.module), head, torch.device("cpu"))
    groups = layers.layer_groups(network.head, network.named_weights())
    config = FineTuneConfig("full", layer_decay=0.5, unfreeze=1.0)
    assert [group.factor(config) for group in groups if group.decays][:3] == [1.0, 0.5, 0.25]
    unused = len(list(backbone.module.get_classifier().parameters()))
    assert sum(len(group.parameters) for group in groups) == len(list(network.parameters())) - unused
    layers.thaw(groups, 1, config)
    assert network.head.weight.requires_grad
    assert network.body.module.layer4[0].conv1.weight.requires_grad
    assert not network.body.module.conv1[0].weight.requires_grad


def test_a_gradient_that_is_not_bounded_stays_so_in_the_jobs_document(
    setting: Setting, tmp_path: Path, last: Training
) -> None:
    unbounded = replace(LAST, clip=0.0)
    assert FineTuneConfig(**unbounded.to_dict()) == unbounded
    free, tight = (setting.train(tmp_path / f"{c}", replace(LAST, clip=c)) for c in (0.0, 1e-6))
    assert len({bits(last), bits(free), bits(tight)}) == 3, "the default bounds, too"
    assert tight.trained.history[-1].train_loss > free.trained.history[-1].train_loss


def test_the_learning_rate_rises_and_falls() -> None:
    config = FineTuneConfig("full", lr=1.0, warmup=0.25)
    rates = [layers.learning_rate(share / 100, config) for share in range(100)]
    assert max(rates) == rates[25] == 1.0
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] < 0.001


def test_too_little_memory_halves_the_parts_and_not_the_step(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FULL, optimizer="sgd", precision="float32")  # AdamW makes whole steps of differences in rounding
    plenty = setting.train(tmp_path / "plenty", config)
    forward = loop.Network.forward

    def scarce(network: loop.Network, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) > 3 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(network, inputs)

    monkeypatch.setattr(loop.Network, "forward", scarce)
    training = setting.train(tmp_path / "scarce", config)
    assert "The memory does not hold 8 pictures at once: from now on each step takes them in 4 parts" in " ".join(
        setting.notes
    )
    losses = [[epoch.train_loss for epoch in one.trained.history] for one in (plenty, training)]
    assert np.allclose(*losses, rtol=1e-4)


def test_a_loss_that_is_no_number_names_its_cause(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(VizslaError) as caught:
        setting.train(tmp_path / "a", replace(FULL, lr=1e30, clip=0.0, warmup=0.0))
    assert "Training diverged: in step" in caught.value.what
    assert "lr=1e+30 is too high" in caught.value.what
    assert "lower lr" in str(caught.value.do)


def test_after_a_good_epoch_a_divergence_goes_back_to_it(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = loop.Network.forward, 0

    def breaks(network: loop.Network, inputs: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        logits = forward(network, inputs)
        return logits * math.nan if calls > 7 and torch.is_grad_enabled() else logits

    monkeypatch.setattr(loop.Network, "forward", breaks)
    costs_nothing = replace(LAST, epochs=3)
    training = setting.train(tmp_path / "a", costs_nothing)
    assert training.trained.stopped_by == "divergence"
    assert len(training.trained.history) == 2
    assert f"it went back to epoch {training.trained.best_epoch}." in " ".join(setting.notes)


def test_a_callback_stops_it_and_the_best_epoch_stays(setting: Setting, tmp_path: Path) -> None:
    class AfterTwo(Callback):
        def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
            return Stop("test", "two are enough") if metrics.epoch == 2 else None

    training = setting.train(tmp_path / "a", LAST, AfterTwo())
    assert len(training.trained.history) == 2
    assert training.trained.stop == Stop("test", "two are enough")


def test_with_depth_auto_all_blocks_follow_the_last_ones(setting: Setting, tmp_path: Path) -> None:
    config = FineTuneConfig("auto", epochs=2, batch_size=8, views=2)
    training = setting.train(tmp_path / "a", config)
    assert [metrics.epoch for metrics in training.trained.history] == [1, 2, 3, 4]
    assert any(note.startswith("Trained at depth last: ") for note in setting.notes)
    assert any(note.startswith("Trained at depth full: ") for note in setting.notes)


class EndsAllBlocks(Callback):
    """Stops the training of all blocks, which comes after three epochs of the last ones, within its first epoch."""

    epochs = 0

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        self.epochs = metrics.epoch
        return None

    def on_step(self, step: int) -> Stop | None:
        return Stop("test", "it is enough") if self.epochs == 3 and step == 2 else None


def test_where_all_blocks_end_before_their_first_epoch_the_last_blocks_are_the_model(
    setting: Setting, tmp_path: Path, last: Training
) -> None:
    both = setting.train(tmp_path / "both", replace(LAST, depth="auto"), EndsAllBlocks())
    assert both.trained.stop is not None
    assert bits(both) == bits(last), "no backbone that is half way elsewhere, below the head of another"
    assert "Depth full had no epoch to its end: what was before is kept." in setting.notes


def test_where_all_blocks_diverge_at_once_the_last_blocks_are_the_model(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: Training
) -> None:
    rate_at = layers.learning_rate

    def crazy(share: float, config: FineTuneConfig) -> float:
        return 1e30 if config.depth == "full" else rate_at(share, config)

    monkeypatch.setattr(loop, "learning_rate", crazy)
    both = setting.train(tmp_path / "both", replace(LAST, depth="auto"))
    assert bits(both) == bits(last)
    assert any(
        "Training diverged in step" in note and "went back to what was before it" in note for note in setting.notes
    )


def test_folded_statistics_are_told_and_left(setting: Setting, tmp_path: Path) -> None:
    setting.train(tmp_path / "a", replace(FULL, epochs=1))
    assert any("batch normalisation is folded into the convolutions" in note for note in setting.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cut": "layer9.0"}, "no block 'layer9.0'"),
    ],
)
def test_what_cannot_be_meant(setting: Setting, tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        setting.train(tmp_path / "a", replace(LAST, **change))


def test_without_validation_pictures_nothing_tells_what_gains(setting: Setting, tmp_path: Path) -> None:
    setting.frozen = replace(setting.frozen, data=replace(setting.frozen.data, valid=np.empty(0, np.int64)))
    with pytest.raises(DataError, match="needs validation pictures"):
        setting.train(tmp_path / "a", LAST)


def test_an_untrained_network_does_not_start_from_a_head_on_statistics_of_nothing(
    setting: Setting, tmp_path: Path
) -> None:
    setting.spec = BackboneSpec.resolve("test_resnet", random_init=True)
    history = setting.train(tmp_path / "a", FULL).trained.history
    assert history[0].train_loss < 2, "the frozen head begins with a loss of hundreds"
