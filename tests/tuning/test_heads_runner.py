"""Heads as trials: together they are what each is alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vizsla.errors import UsageError, VizslaError
from vizsla.training.config import HeadConfig, LbfgsConfig, StepConfig
from vizsla.training.head_data import HeadData
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable
from vizsla.tuning.finalists import beside_default
from vizsla.tuning.head_space import check_space, default_space, head_config
from vizsla.tuning.heads_runner import HeadsRunner, best_value, generation
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import own_objective
from vizsla.tuning.search import search
from vizsla.tuning.space import Space
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Study
from vizsla.tuning.trials import TrialRecord

D, C, N = 16, 4, 400
BASE = StepConfig(epochs=4, patience=None)
SPACE = Space.of(
    {"learning_rate": "0.001..0.1:log", "batch-size": "32,64", "optimizer": "Adam,SGD", "momentum": "0.5..0.9"}
)


def data(seed: int = 0) -> HeadData:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, C, N).astype(np.int32)
    features = np.random.default_rng(9).normal(size=(C, D))[labels] + 1.5 * rng.normal(size=(N, D))
    return HeadData(FeatureTable.of(features.astype(np.float32)), labels, np.arange(300), np.arange(300, N), C)


def run(
    path: Path,
    *,
    space: Space = SPACE,
    base: StepConfig = BASE,
    metric: str = "valid_loss",
    how: str = "tpe",
    trials: int = 14,
    seeds: int = 1,
    **options: Any,
) -> list[TrialRecord]:
    objective = own_objective(metric)
    study = Study.open(str(path), "t", space, objective, strategy(how), total=trials, epochs=base.epochs, **options)
    runner = HeadsRunner(data(), base, objective, static=space.static, seeds=seeds)
    search(study, runner, SearchLimits(trials=trials))
    return study.trials()


@pytest.mark.parametrize("metric", ["valid_loss", "valid_accuracy"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_trial_is_what_training_it_alone_gives(metric: str, seeds: int, tmp_path: Path) -> None:
    trials = run(tmp_path / "s.db", metric=metric, seeds=seeds, early_stopping="off")
    assert len(trials) == 14
    for trial in trials:
        config = head_config(BASE, trial.params)
        values = []
        for seed in range(seeds):
            (alone,) = train_heads(data(), [StepConfig(**(config.to_dict() | {"seed": seed}))])
            values.append(best_value(alone, metric))
        assert trial.value == pytest.approx(np.mean(values), abs=1e-5)
        assert len(trial.curve) == 4
        assert trial.cost == 4 * 300, "epochs times pictures, whatever the batch"


def test_the_epoch_that_is_kept_decides(tmp_path: Path) -> None:
    base = StepConfig(epochs=30, patience=2)
    trials = run(tmp_path / "s.db", base=base, space=Space.of({"lr": "0.01..0.1"}), trials=8, early_stopping="off")
    assert any(len(t.curve) < 30 for t in trials)
    for t in trials:
        assert t.value == t.curve[int(t.metrics["best_epoch"]) - 1]


def test_hopeless_heads_are_not_trained_on(tmp_path: Path) -> None:
    base = StepConfig(epochs=9, patience=None)
    trials = run(
        tmp_path / "s.db", base=base, space=Space.of({"lr": "0.00001..0.1:log"}), how="asha", trials=24, seeds=2
    )
    stopped = [t for t in trials if t.status == "Stopped"]
    assert stopped
    assert all(len(t.curve) < 9 and t.reason for t in stopped)
    complete = [t for t in trials if t.status == "Completed"]
    assert complete
    assert all(len(t.curve) == 9 for t in complete)


def test_a_learning_rate_that_diverges_is_a_failed_trial(tmp_path: Path) -> None:
    space = Space.of({"lr": [0.01, 1e30], "weight_decay": [0.1, 0.2, 0.3]})
    trials = run(tmp_path / "s.db", space=space, how="grid", base=StepConfig(optimizer="sgd", epochs=3, patience=None))
    assert len(trials) == 6
    for t in trials:
        if t.params["lr"] == 1e30:
            assert t.status == "Failed"
            assert "the objective valid_loss became" in str(t.reason)
        else:
            assert t.status == "Completed"


def test_all_that_diverge_end_the_search_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(VizslaError, match=r"trials failed, \d+ of them because: the objective valid_loss became"):
        run(tmp_path / "s.db", space=Space.of({"lr": "1e30..1e31"}), base=StepConfig(optimizer="sgd", epochs=3))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"learning-rat": "0.1..1.0"}, ["There is no hyperparameter 'learning-rat'", "optimizer, lr, batch_size"]),
        ({"lr": "0.0..1.0"}, ["lr=0.0 cannot be used", "a number above 0"]),
        ({"optimizer": "adam,lion"}, ["optimizer='lion' cannot be used", "sgd, adam or adamw"]),
        ({"lr": "0.1..1.0", "learning_rate": "0.1..1.0"}, ["and another name mean lr"]),
        ({"batch_size": "0..64"}, ["batch_size=0 cannot be used"]),
        ({"seed": "1,2,3"}, ["There is no hyperparameter 'seed'"]),
        ({"lr": "0.1..1.0", "epochs": "1.5"}, ["epochs=1.5 cannot be used"]),
    ],
)
def test_a_space_that_cannot_be_trained_is_refused_at_once(space: dict[str, str], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        check_space(BASE, Space.of(space))
    for word in words:
        assert word in str(caught.value)


def test_the_default_space_can_be_trained() -> None:
    check_space(StepConfig(), default_space())


@pytest.mark.parametrize(
    ("winner", "words"),
    [
        (LbfgsConfig(), "The difference is within the noise."),
        (
            StepConfig(epochs=1, lr=1e-6, patience=None),
            "The winner is worse: `vizsla fit` without a search is the one to use.",
        ),
    ],
)
def test_a_winner_is_held_against_the_default_head(winner: HeadConfig, words: str) -> None:
    problem = data()
    (head,) = train_heads(problem, [winner])
    said = beside_default(problem, head, own_objective("valid_loss"))
    assert said.startswith("The winner's valid_loss is ")
    assert said.endswith(words)


def test_generations() -> None:
    assert [generation(0, 20), generation(8, 20), generation(0, 256), generation(64, 256)] == [8, 2, 64, 64]


def test_momentum_without_an_optimizer_that_has_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"momentum is searched, and no optimizer of this search has it: adamw"):
        check_space(StepConfig(optimizer="adamw"), Space.of({"momentum": "0.5..0.9"}))
    check_space(StepConfig(), Space.of({"momentum": "0.5..0.9", "optimizer": "SGD"}))
    check_space(StepConfig(), Space.of({"momentum": "0.5..0.9", "optimizer": "SGD,Adam"}))
