"""The numbers against scikit-learn's and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.evaluation import evaluate
from vizsla.evaluation.intervals import bootstrap, class_mean_interval, wilson

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


def class_mean(confusion) -> tuple[float, float]:
    found = evaluate_confusion(confusion)
    return found.macro_f1.low, found.macro_f1.high


def evaluate_confusion(confusion):
    """The evaluation of a model with this confusion matrix."""
    truth, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape))
    c = len(confusion)
    probabilities = np.full((len(truth), c), 0.1 / c, np.float32)
    probabilities[np.arange(len(truth)), predicted] += 0.9
    return evaluate(probabilities, truth.astype(np.int32), [str(i) for i in range(c)])


def test_a_mean_over_classes_of_a_small_perfect_test_is_not_certain() -> None:
    low, high = class_mean(np.diag([4, 4]))
    assert 0.5 < low < 0.85
    assert high == 1


@pytest.mark.parametrize(
    ("recall", "counts"),
    [
        ([0.95, 0.8, 0.7], [4, 2, 2]),
        ([0.95, 0.8, 0.7], [34, 33, 33]),
        ([0.99, 0.6], [500, 10]),
        ([0.9] * 20, [2] * 20),
        ([0.98] * 10 + [0.5] * 5, [100] * 10 + [3] * 5),
    ],
)
def test_intervals_of_means_over_classes_cover_the_truth(recall, counts) -> None:
    rng, c = np.random.default_rng(len(counts)), len(recall)
    rates = np.repeat(((1 - np.array(recall)) / (c - 1))[:, None], c, axis=1)
    np.fill_diagonal(rates, recall)
    expected = rates * np.array(counts)[:, None]
    macro_f1 = (2 * np.diagonal(expected) / (expected.sum(axis=0) + expected.sum(axis=1))).mean()
    inside = np.zeros(2)
    for _ in range(100):
        drawn = np.array([rng.multinomial(k, p) for k, p in zip(counts, rates, strict=True)])
        hits, support = np.diagonal(drawn), drawn.sum(axis=1)
        f1 = (2 * hits / (support + drawn.sum(axis=0))).mean()
        for at, (value, truth) in enumerate([((hits / support).mean(), np.mean(recall)), (f1, macro_f1)]):
            low, high = class_mean_interval(value, hits, support)
            inside[at] += low <= truth <= high
    assert (inside / 100 > 0.85).all()


def test_of_many_classes_of_one_picture_the_interval_holds_its_value_well_inside() -> None:
    confusion = np.diag([1] * 1200 + [0] * 300)
    confusion[1200:, 0] = 1
    found = evaluate_confusion(confusion).macro_f1
    assert found.low < found.value - 0.01
    assert found.high > found.value + 0.01


def test_balanced_accuracy_is_the_mean_recall() -> None:
    found = evaluate_confusion(np.array([[90, 0], [4, 1]]))
    assert found.accuracy.value == pytest.approx(91 / 95)
    assert found.balanced_accuracy.value == pytest.approx((1 + 0.2) / 2)
    assert found.unequal


@pytest.mark.parametrize(
    ("confusion", "better", "worse", "beaten"),
    [([[79, 0], [2, 2]], 2, 0, False), ([[79, 0], [0, 12]], 12, 0, True), ([[60, 19], [0, 4]], 4, 19, False)],
)
def test_the_constant_answer_stands_beside_the_model(confusion, better: int, worse: int, beaten: bool) -> None:
    constant = evaluate_confusion(np.array(confusion)).constant
    assert constant.label == "0"
    assert (constant.better, constant.worse, constant.beaten) == (better, worse, beaten)
    assert constant.accuracy == pytest.approx(sum(confusion[0]) / np.sum(confusion))


def test_json_grows_with_the_classes_and_not_with_their_square() -> None:
    def all_but_one_right(classes: int):
        confusion = np.eye(classes, dtype=int)
        confusion[-1] = confusion[-2]
        return evaluate_confusion(confusion)

    few, many = all_but_one_right(4), all_but_one_right(101)
    assert few.to_dict()["confusion"] == few.confusion.tolist()
    assert many.to_dict()["confusion"] is None
    assert many.to_dict()["mistakes"] == [{"truth": "100", "predicted": "99", "pictures": 1}]
