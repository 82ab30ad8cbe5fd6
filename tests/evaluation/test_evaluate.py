"""The numbers against scikit-learn's and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.evaluation import evaluate
from vizsla.evaluation.intervals import bootstrap, macro_f1_interval, wilson

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn as the reference")


@pytest.fixture
def answers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 400).astype(np.int32)
    logits = rng.normal(size=(400, 7)) + 2 * np.eye(7)[labels]
    probabilities = np.exp(logits)
    return (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32), labels


def test_headline_numbers_agree_with_scikit_learn(answers):
    probabilities, labels = answers
    found = evaluate(probabilities, labels, list("abcdefg"))
    predicted = probabilities.argmax(1)
    assert found.accuracy.value == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert found.macro_f1.value == pytest.approx(sklearn_metrics.f1_score(labels, predicted, average="macro"))
    assert found.loss.value == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), rel=1e-5)
    assert found.top5.value == pytest.approx(sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=5))
    assert np.array_equal(found.confusion, sklearn_metrics.confusion_matrix(labels, predicted))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(labels, predicted)
    assert [s.precision.value for s in found.classes] == pytest.approx(list(precision))
    assert [s.recall.value for s in found.classes] == pytest.approx(list(recall))
    assert [s.f1 for s in found.classes] == pytest.approx(list(f1))
    assert [s.support for s in found.classes] == list(support)


def test_every_interval_holds_its_value(answers):
    found = evaluate(*answers, list("abcdefg"))
    for estimate in (found.accuracy, found.top5, found.macro_f1, found.loss, found.ece):
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high


def test_ece_of_a_perfectly_calibrated_and_of_an_overconfident_model():
    right = np.array([1] * 80 + [0] * 20)
    calibrated = np.column_stack([np.full(100, 0.8), np.full(100, 0.2)]).astype(np.float32)
    assert evaluate(calibrated, (1 - right).astype(np.int32), ["a", "b"]).ece.value == pytest.approx(0, abs=1e-6)
    boastful = np.column_stack([np.full(100, 0.99), np.full(100, 0.01)]).astype(np.float32)
    assert evaluate(boastful, (1 - right).astype(np.int32), ["a", "b"]).ece.value == pytest.approx(0.19, abs=1e-6)


def test_wilson_against_published_values():
    # Agresti and Coull 1998: 0 of 10 and 9 of 10.
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_bootstrap_covers_a_known_mean_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        sample = rng.normal(3, 1, 60)
        low, high = bootstrap(lambda rows, s=sample: (float(s[rows].mean()),), 60, seed)
        covered += low[0] <= 3 <= high[0]
    assert 86 <= covered <= 100


def test_a_class_without_pictures_has_no_recall_and_no_weight():
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]], np.float32)
    found = evaluate(probabilities, np.array([0, 1], np.int32), ["a", "b", "c"])
    assert found.classes[2].recall is None
    assert found.classes[2].precision is None
    assert found.macro_f1.value == 1


def test_top_k_of_few_classes_is_trivial_and_known_to_be():
    found = evaluate(np.array([[0.9, 0.1]], np.float32), np.array([1], np.int32), ["a", "b"])
    assert found.top_k == 2
    assert found.top5.value == 1


def test_macro_f1_of_a_small_perfect_test_is_not_certain() -> None:
    low, high = macro_f1_interval(np.diag([4, 4]), 0)
    assert 0.5 < low < 0.85
    assert high <= 1


@pytest.mark.parametrize("n", [8, 30, 100])
def test_macro_f1_intervals_cover_the_truth(n: int) -> None:
    rng = np.random.default_rng(n)
    recall = np.array([0.95, 0.8, 0.7])
    rates = np.full((3, 3), 0.0)
    for i in range(3):
        rates[i] = (1 - recall[i]) / 2
        rates[i, i] = recall[i]
    expected = rates * n / 3
    truth = (2 * np.diagonal(expected) / (expected.sum(axis=0) + expected.sum(axis=1))).mean()
    per_class = np.array([n - 2 * (n // 3), n // 3, n // 3])
    inside = 0
    for trial in range(200):
        low, high = macro_f1_interval(
            np.array([rng.multinomial(k, p) for k, p in zip(per_class, rates, strict=True)]), trial
        )
        inside += low <= truth <= high
    assert inside / 200 > 0.9
