"""Several processes that train together: the steps of one, and what happens when one of them is lost."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import partial
from operator import mul
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.training.fine_tuning import test_trainer
from tests.training.fine_tuning.conftest import Setting
from tests.training.fine_tuning.test_trainer import bits
from vizsla.errors import UsageError, VizslaError
from vizsla.models.weights import BackboneSpec
from vizsla.training.callbacks import Callback
from vizsla.training.fine_tuning.config import FineTuneConfig, training_config
from vizsla.training.trained import EpochMetrics, Stop
from vizsla.training.trainer import Training


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIZSLA_THREADS", "2")


FULL, LAST = (replace(config, precision="float32") for config in (test_trainer.FULL, test_trainer.LAST))
"""In bfloat16, which some machines choose, what is summed in another order is further off."""
always = partial(mul, 0.0)
"""A checkpoint after each step; the processes are given it."""


def curve(training: Training) -> list[list[float]]:
    return [[epoch.train_loss, epoch.valid_loss] for epoch in training.trained.history]


def workers() -> list[psutil.Process]:
    """The processes that train for this one, the first of them first."""
    below = psutil.Process().children(recursive=True)
    found = [process for process in below if "torch.distributed.run" not in (words := process.cmdline()) and
             "vizsla.training.fine_tuning.worker" in words]  # fmt: skip
    return sorted(found, key=lambda process: int(process.environ()["RANK"]))


class KillsTheSecond(Callback):
    """Kills a process after an epoch, as the system would whose memory is full."""

    def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
        if metrics.epoch == 2:
            os.kill(workers()[1].pid, signal.SIGKILL)
        return None


@pytest.mark.slow
def test_two_make_the_steps_of_one_and_after_the_death_of_one_go_on_to_the_same_bits(
    setting: Setting, tmp_path: Path
) -> None:
    # The last batch of each epoch is one picture, of which the second process has none.
    most = len(setting.frozen.data.train) - 1
    everything = replace(FULL, batch_size=most, accumulation=2, ema=0.9, mixup=0.2, cutmix=1.0, balance="weights")
    config = replace(everything, epochs=3, clip=0.5, unfreeze=0.5)
    alone = setting.train(tmp_path / "alone", config)
    config = replace(config, processes=2)
    whole = setting.train(tmp_path / "whole", config)
    assert np.allclose(curve(whole), curve(alone), rtol=0, atol=1e-4)
    with pytest.raises(VizslaError) as caught:
        setting.train(tmp_path / "killed", config, KillsTheSecond(), interval=always)
    assert caught.value.what.startswith("Process 2 of 2 that train together (number ")
    assert "was lost: it ended without a word, as a process does that is killed" in caught.value.what
    assert "`vizsla jobs resume JOB` goes on from the last checkpoint" in str(caught.value.do)
    assert not workers()
    resumed = setting.train(tmp_path / "killed", config, interval=always)
    assert {"Training goes on after step 3.", "Training goes on after step 4."} & set(setting.notes)
    assert bits(resumed) == bits(whole)
    assert resumed.trained.history == whole.trained.history


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        replace(LAST, balance="sampling"),
        replace(LAST, mixup=0.4, optimizer="sgd"),
        replace(FULL, precision="bfloat16", optimizer="sgd"),  # AdamW makes whole steps of differences in rounding
    ],
)
def test_the_loss_is_that_of_one_process(setting: Setting, tmp_path: Path, config: FineTuneConfig) -> None:
    alone = setting.train(tmp_path / "alone", config)
    shared = setting.train(tmp_path / "shared", replace(config, processes=2))
    near = 1e-4 if config.precision != "bfloat16" else 1e-2
    assert np.allclose(curve(shared), curve(alone), rtol=0, atol=near)


@pytest.mark.slow
def test_batch_normalisation_learns_from_the_whole_batch(setting: Setting, tmp_path: Path) -> None:
    setting.spec = BackboneSpec.resolve("test_resnet", random_init=True)
    config = replace(FULL, lr=1e-3)
    alone = setting.train(tmp_path / "alone", config)
    shared = setting.train(tmp_path / "shared", replace(config, processes=2))
    assert np.allclose(curve(shared), curve(alone), rtol=0, atol=1e-4)


def test_two_make_the_steps_of_one_until_a_callback_stops_them(setting: Setting, tmp_path: Path) -> None:
    class AfterOne(Callback):
        def on_epoch(self, metrics: EpochMetrics, epochs: int | None) -> Stop | None:
            return Stop("test", "one is enough")

    alone = setting.train(tmp_path / "alone", LAST, AfterOne())
    training = setting.train(tmp_path / "shared", replace(LAST, processes=2), AfterOne())
    assert len(training.trained.history) == 1
    assert np.allclose(curve(training), curve(alone), rtol=0, atol=1e-4)
    assert training.trained.stop == Stop("test", "one is enough")


@pytest.mark.slow
def test_what_a_process_refuses_is_said_once_in_its_words(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(VizslaError) as caught:
        setting.train(tmp_path / "a", replace(FULL, processes=2, lr=1e30, clip=0.0, warmup=0.0))
    assert "Training diverged: in step" in caught.value.what
    assert "lower lr" in str(caught.value.do)


def test_more_processes_than_cores(setting: Setting, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        setting.train(tmp_path / "a", replace(LAST, processes=3))
    assert caught.value.what == (
        "3 processes cannot train together here: this machine has no GPU and 2 cores that may be used."
    )
    assert (caught.value.parameter, caught.value.allowed) == ("processes", "1 to 2")


def test_what_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="processes=0 cannot be used") as caught:
        FineTuneConfig("full", processes=0)
    assert caught.value.allowed == "a whole number of at least 1"
    with pytest.raises(UsageError, match="A batch of 2 pictures cannot be shared by 3 processes") as caught:
        FineTuneConfig("full", batch_size=2, processes=3)
    assert caught.value.do == "lower it, or raise batch_size"
    with pytest.raises(UsageError, match="processes means nothing where the head alone is trained"):
        training_config({"depth": "head", "processes": 2})
