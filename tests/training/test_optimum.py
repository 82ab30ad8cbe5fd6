"""The default head is the optimum of its problem, whatever the classes' sizes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from vizsla.errors import UsageError
from vizsla.training.config import LbfgsConfig, StepConfig, head_config
from vizsla.training.folds import fold_of
from vizsla.training.head_data import HeadData, standardisation
from vizsla.training.heads import train_heads
from vizsla.training.lbfgs import minimise
from vizsla.training.optimum import STRENGTHS
from vizsla.training.table import FeatureTable

D = 30


def problem(counts: tuple[int, ...], *, noise: float = 2.0, seed: int = 0, valid: float = 0.3) -> HeadData:
    """Clouds around one centre a class, on scales that differ by feature; a share of them is the validation split."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    rng.shuffle(labels)
    centres = np.random.default_rng(99).normal(size=(len(counts), D))
    scales = 10.0 ** np.linspace(-2, 2, D)
    features = ((centres[labels] + noise * rng.normal(size=(len(labels), D))) * scales + 3 * scales).astype(np.float32)
    rows = np.arange(len(labels))
    cut = round((1 - valid) * len(rows))
    return HeadData(FeatureTable.of(features), labels, rows[:cut], rows[cut:], len(counts))


@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("decay", [1.0, 0.03, 0.001])
def test_agrees_with_scikit_learn(balance: Any, decay: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    d = problem((150, 60, 20))
    (found,) = train_heads(d, [LbfgsConfig(weight_decay=decay, balance=balance)])
    mean, deviation = standardisation(d.table, d.train)
    x = ((d.table.take(np.arange(len(d.labels))) - mean) / deviation).astype(np.float64)
    weight = "balanced" if balance == "weights" else None
    reference = linear_model.LogisticRegression(
        C=1 / (decay * len(d.train)), class_weight=weight, max_iter=5000, tol=1e-8
    ).fit(x[d.train], d.labels[d.train])
    weights = found.head.weight * deviation  # as if for standardised features
    assert np.linalg.norm(weights - reference.coef_) < 0.02 * np.linalg.norm(reference.coef_)
    agree = found.head.probabilities(d.table.take(d.valid)).argmax(axis=1) == reference.predict(x[d.valid])
    assert agree.all()
    assert found.stopped_by in ("convergence", "precision")
    assert found.config.weight_decay == decay


def test_many_at_once_are_each_what_they_are_alone() -> None:
    d = problem((80, 40, 30))
    configs = [
        LbfgsConfig(weight_decay=0.1),
        LbfgsConfig(weight_decay=0.001, label_smoothing=0.1),
        LbfgsConfig(weight_decay=0.01, balance="weights"),
        LbfgsConfig(),
    ]
    together = train_heads(d, configs)
    for config, head in zip(configs, together, strict=True):
        (alone,) = train_heads(d, [config])
        answers = [h.head.probabilities(d.table.take(d.valid)) for h in (head, alone)]
        assert np.allclose(*answers, atol=2e-3)


def test_the_same_bits_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []
    for threads in ("1", "2", "2"):
        monkeypatch.setenv("VIZSLA_THREADS", threads)
        (trained,) = train_heads(problem((900, 500, 100)), [LbfgsConfig()])
        heads.append(trained.head.weight.tobytes() + trained.head.bias.tobytes())
    assert len(set(heads)) == 1


@pytest.mark.parametrize("counts", [(500, 10), (400, 3), (200, 100, 4, 4), (6, 6), (3, 3, 3, 3)])
def test_is_not_below_the_constant_answer_however_unequal_the_classes(counts: tuple[int, ...]) -> None:
    for seed in range(3):
        d = problem(counts, noise=6.0, seed=seed)  # the features tell little
        (trained,) = train_heads(d, [LbfgsConfig()])
        test = problem(tuple(20 * n for n in counts), noise=6.0, seed=seed + 10)
        p = trained.head.probabilities(test.table.take(np.arange(len(test.labels))))
        loss = -np.log(p[np.arange(len(p)), test.labels]).mean()
        shares = np.bincount(d.labels[d.train], minlength=len(counts)) / len(d.train)
        constant = -np.log(np.maximum(shares, 0.5 / len(d.train)))[test.labels].mean()
        assert loss < constant + 0.15
        assert (p.argmax(1) == test.labels).mean() > (test.labels == shares.argmax()).mean() - 0.06


def test_features_that_tell_nothing_give_the_classes_shares() -> None:
    d = problem((300, 100, 20))
    d.table.put(np.arange(420), np.random.default_rng(5).normal(size=(420, D)).astype(np.float32))
    (trained,) = train_heads(d, [LbfgsConfig()])
    shares = np.bincount(d.labels[d.train]) / len(d.train)
    assert np.abs(trained.head.probabilities(d.table.take(d.valid)).mean(axis=0) - shares).max() < 0.05
    assert trained.config.weight_decay is not None
    assert trained.config.weight_decay >= 0.3


@pytest.mark.parametrize(("classes", "each"), [(120, 6), (12, 12)])
def test_the_path_goes_on_until_the_loss_on_held_out_pictures_has_turned(classes: int, each: int) -> None:
    d = problem((each,) * classes, noise=0.4)  # so far apart that weak decay is best
    (trained,) = train_heads(d, [LbfgsConfig()])
    weaker = [strength for strength in STRENGTHS if strength <= 0.01]
    fine = train_heads(d, [LbfgsConfig(weight_decay=strength) for strength in weaker])
    labels = d.labels[d.valid]

    def loss(head: Any) -> float:
        p = head.probabilities(d.table.take(d.valid))
        return float(-np.log(np.maximum(p[np.arange(len(p)), labels], 1e-12)).mean())

    assert loss(trained.head) < 1.1 * min(loss(one.head) for one in fine) + 0.01
    losses = [point.loss for point in trained.path]
    assert len(set(losses)) == len(losses)  # no strength is where the one before it was


def test_the_strength_is_chosen_by_the_validation_split_or_by_folds_where_that_is_small() -> None:
    (large,) = train_heads(problem((800, 800)), [LbfgsConfig()])
    assert {(point.pictures, point.folds) for point in large.path} == {(480, 0)}
    (small,) = train_heads(problem((60, 40)), [LbfgsConfig()])
    assert {(point.pictures, point.folds) for point in small.path} == {(100, 5)}
    best = min(small.path, key=lambda point: point.loss)
    assert small.config.weight_decay == best.weight_decay


def test_a_class_of_one_training_picture_is_never_held_out_of_training() -> None:
    d = problem((60, 40, 3))
    rare = np.flatnonzero(d.labels == 2)
    train = np.concatenate([np.setdiff1d(d.train, rare), rare[:1]])
    valid = np.concatenate([np.setdiff1d(d.valid, rare), rare[1:]])
    (trained,) = train_heads(HeadData(d.table, d.labels, train, valid, 3), [LbfgsConfig()])
    assert all(np.isfinite(point.loss) for point in trained.path)
    assert np.isfinite(trained.head.weight).all()


def test_folds_do_not_part_groups() -> None:
    labels = np.repeat(np.arange(2), 50).astype(np.int32)
    groups = (np.arange(100) // 4).astype(np.int32)
    fold = fold_of(np.arange(100), labels, groups, 5, 0)
    assert all(len(set(fold[groups == g].tolist())) == 1 for g in range(25))
    assert set(np.bincount(fold[labels == 0], minlength=5) > 0) == {True}


def test_stops_when_asked_and_keeps_what_was_reached() -> None:
    asked = iter([False] * 4)
    (trained,) = train_heads(problem((80, 40)), [LbfgsConfig()], stop=lambda: next(asked, True))
    assert trained.stopped_by == "watcher"
    assert np.isfinite(trained.head.weight).all()


def test_balance_helps_the_rare_class() -> None:
    d = problem((340, 20, 20, 20), noise=4.0)
    rare = d.valid[d.labels[d.valid] > 0]

    def recall(config: LbfgsConfig) -> float:
        (trained,) = train_heads(d, [config])
        return float((trained.head.logits(d.table.take(rare)).argmax(axis=1) == d.labels[rare]).mean())

    assert recall(LbfgsConfig(balance="weights")) > recall(LbfgsConfig()) + 0.1


def test_what_only_steps_have_asks_for_steps() -> None:
    assert head_config({}) == LbfgsConfig()
    assert head_config({"balance": "weights", "seed": 3}) == LbfgsConfig(balance="weights", seed=3)
    assert head_config({"lr": 0.01}) == StepConfig(lr=0.01)
    assert head_config({"optimizer": "sgd"}) == StepConfig(optimizer="sgd")
    assert head_config({"patience": 0}).patience is None  # type: ignore[union-attr]
    assert head_config({"epochs": 3}, LbfgsConfig(balance="weights", weight_decay=2.0)) == StepConfig(
        epochs=3, balance="weights"
    )
    assert head_config({"weight_decay": 0.1}, StepConfig(lr=0.5)) == StepConfig(lr=0.5, weight_decay=0.1)
    assert head_config({"optimizer": "lbfgs"}, StepConfig(lr=0.5, weight_decay=0.3)) == LbfgsConfig()


def test_what_the_optimum_does_not_have_is_refused_beside_it() -> None:
    with pytest.raises(UsageError) as error:
        head_config({"optimizer": "lbfgs", "lr": 0.1})
    assert str(error.value.what) == "lr means nothing to optimizer 'lbfgs', which has no steps."
    assert error.value.allowed == "with optimizer sgd, adam or adamw"


def test_minimises_problems_of_different_difficulty_side_by_side() -> None:
    scales = np.array([[1.0, 1.0, 1.0], [1.0, 30.0, 900.0]], np.float32)
    centres = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]], np.float32)
    evaluated: list[int] = []

    def evaluate(points: Any, at: Any) -> Any:
        evaluated.extend(at.tolist())
        away = points - centres[at]
        return (scales[at] * away**2).sum(axis=1, dtype=np.float64) / 2, scales[at] * away

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = minimise(evaluate, np.zeros((2, 3), np.float32), tolerance=np.full(2, 1e-3), iterations=200)
    assert found.endings == ["convergence", "convergence"]
    assert np.allclose(found.points, centres, atol=2e-3)
    assert evaluated.count(0) < evaluated.count(1)  # the easy one is not evaluated to the end of the hard one


def test_a_cosine_head_learns_from_five_pictures_a_class() -> None:
    d = problem((8, 8, 8, 8, 8), noise=1.0)
    (trained,) = train_heads(d, [LbfgsConfig(head="cosine")])
    assert trained.head.kind == "cosine"
    test = problem((60,) * 5, noise=1.0, seed=10)
    rows = np.arange(300)
    assert (trained.head.logits(test.table.take(rows)).argmax(axis=1) == test.labels).mean() > 0.9


def test_another_kind_of_head_is_not_trained_in_steps() -> None:
    with pytest.raises(UsageError) as error:
        head_config({"head": "cosine", "lr": 0.1})
    assert error.value.what == "A cosine head is not trained in steps."
    assert error.value.do == "leave lr out, or train a linear head"
    with pytest.raises(UsageError) as error:
        head_config({"head": "forest"})
    assert error.value.allowed == "linear or cosine"
