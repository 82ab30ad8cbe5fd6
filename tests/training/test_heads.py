"""Linear heads: many at once are each what they would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vizsla.errors import UsageError
from vizsla.training.config import StepConfig
from vizsla.training.head_data import HeadData, standardisation
from vizsla.training.heads import train_heads
from vizsla.training.table import FeatureTable
from vizsla.training.trained import EpochMetrics

D, C, N = 20, 4, 400


def data(seed: int = 0, counts: tuple[int, ...] | None = None, noise: float = 2.5) -> HeadData:
    """Clouds of points around one centre a class, on scales that differ by feature, with a constant one."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(C), counts or (N // C,) * C).astype(np.int32)
    rng.shuffle(labels)
    centres = np.random.default_rng(99).normal(size=(C, D))
    scales = 10.0 ** np.linspace(-3, 3, D)
    features = (centres[labels] + noise * rng.normal(size=(len(labels), D))) * scales + 5 * scales
    features[:, 3] = 7.0
    rows = np.arange(len(labels))
    cut = int(0.7 * len(rows))
    return HeadData(FeatureTable.of(features.astype(np.float32)), labels, rows[:cut], rows[cut:], C)


CONFIGS = [
    StepConfig(lr=0.01, epochs=6),
    StepConfig(lr=0.001, epochs=9, weight_decay=0.1, label_smoothing=0.1),
    StepConfig(optimizer="sgd", lr=0.05, epochs=6, momentum=0.9, nesterov=True),
    StepConfig(optimizer="sgd", lr=0.01, epochs=4, momentum=0.0, balance="weights"),
    StepConfig(optimizer="adam", lr=0.01, epochs=6, batch_size=32),
    StepConfig(optimizer="adam", lr=0.02, epochs=5, batch_size=32, seed=1),
    StepConfig(optimizer="adamw", lr=0.02, epochs=5, balance="sampling"),
    StepConfig(optimizer="adamw", lr=0.02, epochs=30, patience=2),
]


def test_many_at_once_are_each_what_they_are_alone() -> None:
    together = train_heads(data(), CONFIGS)
    for config, found in zip(CONFIGS, together, strict=True):
        (alone,) = train_heads(data(), [config])
        assert found.config == config
        assert found.best_epoch == alone.best_epoch
        assert len(found.history) == len(alone.history)
        scale = np.abs(alone.head.weight).max()
        assert np.abs(found.head.weight - alone.head.weight).max() <= 1e-5 * scale
        assert [m.valid_loss for m in found.history] == pytest.approx([m.valid_loss for m in alone.history], abs=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    def weights(seed: int) -> bytes:
        (trained,) = train_heads(data(), [StepConfig(lr=0.01, epochs=5, seed=seed)])
        return trained.head.weight.tobytes() + trained.head.bias.tobytes()

    assert weights(0) == weights(0)
    assert weights(0) != weights(1)


def test_learns_and_the_folded_head_takes_features_as_they_are() -> None:
    d = data(noise=0.3)
    (trained,) = train_heads(d, [StepConfig(lr=0.01)])
    predicted = trained.head.probabilities(d.table.take(d.valid)).argmax(axis=1)
    accuracy = (predicted == d.labels[d.valid]).mean()
    assert accuracy > 0.95
    assert accuracy == pytest.approx(trained.history[trained.best_epoch - 1].valid_accuracy, abs=0.01)


def test_agrees_with_a_plain_torch_loop() -> None:
    torch = pytest.importorskip("torch")
    from vizsla.training.sampling import batches

    d, config = data(), StepConfig(lr=0.01, epochs=4, weight_decay=0.05, label_smoothing=0.1, patience=None)
    (found,) = train_heads(d, [config])
    mean, deviation = standardisation(d.table, d.train)
    x = torch.from_numpy((d.table.take(np.arange(N)) - mean) / deviation)
    y = torch.from_numpy(d.labels.astype(np.int64))
    linear = torch.nn.Linear(D, C)
    torch.nn.init.zeros_(linear.weight)
    shares = np.bincount(d.labels[d.train]) / len(d.train)
    with torch.no_grad():
        linear.bias.copy_(torch.from_numpy(np.log(shares)))
    parts = [{"params": [linear.weight], "weight_decay": config.weight_decay}, {"params": [linear.bias]}]
    optimizer = torch.optim.AdamW(parts, config.lr, weight_decay=0)
    loss_function = torch.nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    for epoch in range(1, config.epochs + 1):
        for rows in batches(d.train, d.labels, config.batch_size, config.seed, epoch):
            optimizer.zero_grad()
            loss_function(linear(x[rows]), y[rows]).backward()
            optimizer.step()
    expected = linear(x[d.valid]).detach().numpy()
    logits = found.head.logits(d.table.take(d.valid))
    assert np.allclose(logits, expected, atol=2e-3)


def test_standardisation_of_large_offsets_and_constants() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 3)) * [1, 1e-3, 0] + [1e4, 1, 3]
    mean, deviation = standardisation(FeatureTable.of(values.astype(np.float32)), np.arange(5000))
    exact = values.astype(np.float32).astype(np.float64)
    assert np.allclose(mean, exact.mean(axis=0), rtol=1e-6)
    assert np.allclose(deviation[:2], exact.std(axis=0)[:2], rtol=1e-3)
    assert deviation[2] == 1


def test_early_stopping_keeps_the_best_epoch() -> None:
    d = data(noise=6.0)
    (trained,) = train_heads(d, [StepConfig(lr=0.1, epochs=60, patience=3)])
    losses = [m.valid_loss for m in trained.history]
    assert len(losses) == trained.best_epoch + 3 < 60
    assert losses[trained.best_epoch - 1] == pytest.approx(min(losses), abs=2e-4)
    logits = trained.head.logits(d.table.take(d.valid)).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    loss = -log_p[np.arange(len(d.valid)), d.labels[d.valid]].mean()
    assert loss == pytest.approx(losses[trained.best_epoch - 1], abs=1e-3)


def test_without_patience_all_epochs_are_trained_and_the_last_kept() -> None:
    (trained,) = train_heads(data(noise=6.0), [StepConfig(lr=0.1, epochs=15, patience=None)])
    assert trained.best_epoch == len(trained.history) == 15


def test_a_watcher_can_stop_some_and_the_others_go_on() -> None:
    seen: dict[int, list[int]] = {0: [], 1: []}

    def on_epoch(metrics: dict[int, EpochMetrics]) -> list[int]:
        for i, m in metrics.items():
            seen[i].append(m.epoch)
        return [1] if metrics[0].epoch == 2 else []

    configs = [StepConfig(lr=0.01, epochs=5, patience=None), StepConfig(lr=0.02, epochs=5, patience=None)]
    stopped = train_heads(data(), configs, on_epoch)
    assert seen == {0: [1, 2, 3, 4, 5], 1: [1, 2]}
    (alone,) = train_heads(data(), configs[:1])
    assert np.allclose(stopped[0].head.weight, alone.head.weight, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_balance_helps_the_rare_class(balance: Any) -> None:
    d = data(counts=(340, 20, 20, 20), noise=4.0)

    def recall_of_the_rare(config: StepConfig) -> float:
        (trained,) = train_heads(d, [config])
        rows = d.valid[d.labels[d.valid] > 0]
        return float((trained.head.logits(d.table.take(rows)).argmax(axis=1) == d.labels[rows]).mean())

    plain = recall_of_the_rare(StepConfig(lr=0.003, epochs=6, patience=None))
    assert recall_of_the_rare(StepConfig(lr=0.003, epochs=6, patience=None, balance=balance)) > plain + 0.1


def test_divergence_stops_that_configuration_only() -> None:
    diverging, fine = train_heads(
        data(), [StepConfig(optimizer="sgd", lr=1e30, epochs=5), StepConfig(optimizer="sgd", lr=0.01, epochs=5)]
    )
    assert len(diverging.history) < 5
    assert np.isfinite(fine.head.weight).all()
    assert len(fine.history) == 5


@pytest.mark.parametrize(
    ("parameter", "value", "allowed"),
    [
        ("optimizer", "rmsprop", "lbfgs, sgd, adam or adamw"),
        ("lr", 0.0, "a number above 0"),
        ("lr", float("nan"), "a number above 0"),
        ("lr", "0.1", "a number above 0"),
        ("batch_size", 0, "a whole number of at least 1"),
        ("epochs", 1.5, "a whole number of at least 1"),
        ("weight_decay", -1, "a number of at least 0"),
        ("momentum", 1.0, "0 <= momentum < 1"),
        ("label_smoothing", 1.0, "0 <= label_smoothing < 1"),
        ("balance", "yes", "none, weights or sampling"),
        ("patience", 0, "a whole number of at least 1, or none"),
        ("seed", -1, "a whole number of at least 0"),
    ],
)
def test_a_value_out_of_range_names_parameter_value_and_range(parameter: str, value: Any, allowed: str) -> None:
    with pytest.raises(UsageError) as error:
        StepConfig(**{parameter: value})
    assert error.value.what == f"{parameter}={value!r} cannot be used."
    assert error.value.where == f"parameter {parameter}"
    assert allowed in str(error.value.allowed)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(UsageError, match="nesterov=True needs a momentum"):
        StepConfig(momentum=0, nesterov=True)


def test_why_training_ended_is_known() -> None:
    configs = [
        StepConfig(lr=0.001, epochs=3),
        StepConfig(lr=0.1, epochs=60, patience=2),
        StepConfig(optimizer="sgd", lr=1e39, momentum=0, epochs=5),
        StepConfig(lr=0.001, epochs=50, patience=None),
    ]
    trained = train_heads(data(noise=6.0), configs, lambda metrics: [3] if metrics.get(3, None) else [])
    assert [t.stopped_by for t in trained] == ["epochs", "patience", "divergence", "watcher"]
