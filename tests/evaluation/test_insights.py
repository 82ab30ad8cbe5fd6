"""Comparison, abstention, suspects and novelty against references and known cases."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from vizsla.evaluation.abstention import reaching, thresholds
from vizsla.evaluation.comparison import compare, sign_test
from vizsla.evaluation.evaluate import calibration_error, evaluate
from vizsla.evaluation.intervals import wilson
from vizsla.evaluation.novelty import novelty
from vizsla.evaluation.suspects import suspects
from vizsla.evaluation.what_if import calibration, learning_curve, what_ifs
from vizsla.models.heads import CosineHead, LinearHead, softmax
from vizsla.training.head_data import HeadData
from vizsla.training.table import FeatureTable


@pytest.mark.parametrize(("a", "b"), [(31, 12), (0, 0), (5, 5), (1, 0), (200, 150)])
def test_the_paired_test_is_scipys(a: int, b: int) -> None:
    expected = scipy.stats.binomtest(a, a + b).pvalue if a + b else 1.0
    assert sign_test(a, b) == pytest.approx(expected, abs=1e-12)


def test_two_models_are_compared_in_words() -> None:
    right = np.array([True] * 12 + [False] * 31 + [True] * 300)
    other = np.array([False] * 12 + [True] * 31 + [True] * 300)
    found = compare(right, other, "B")
    assert (found.better, found.worse) == (31, 12)
    assert found.words.startswith("Better beyond chance: B is right on 31 pictures that this model gets wrong")
    assert "wrong on 12" in found.words
    assert "p = 0.0054" in found.words
    assert compare(right, right, "B").words.startswith("No difference beyond chance")


def test_abstaining_trades_coverage_for_accuracy() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(2000).astype(np.float32)
    right = rng.random(2000) < confidence
    found = thresholds(confidence, right)
    assert [one.coverage for one in found] == sorted((one.coverage for one in found), reverse=True)
    assert [one.accuracy.value for one in found] == sorted(one.accuracy.value for one in found)
    best = reaching(confidence, right, 0.9)
    assert best is not None
    answered = confidence >= best.confidence
    assert wilson(int(right[answered].sum()), int(answered.sum()))[0] >= 0.9
    assert answered.mean() == pytest.approx(best.coverage)
    assert reaching(confidence, np.zeros(2000, bool), 0.9) is None


def test_a_threshold_parts_no_pictures_of_equal_confidence() -> None:
    """Whoever answers from a threshold on answers all of them."""
    confidence = np.repeat(np.array([0.5, 0.9, 1.0], np.float32), [40, 40, 20])
    right = np.arange(100) % 10 > 0
    right[80:] = True
    for one in [*thresholds(confidence, right), reaching(confidence, right, 0.8), reaching(confidence, right, 0.7)]:
        assert one is not None
        answered = confidence >= np.float32(one.confidence)
        assert answered.mean() == one.coverage
        assert right[answered].mean() == pytest.approx(one.accuracy.value)
    assert [one.coverage for one in thresholds(confidence, right)] == [1.0, 0.6]


def test_suspect_labels_are_those_of_cleanlab() -> None:
    filters = pytest.importorskip("cleanlab.filter", reason="needs cleanlab as the reference")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 800)
    logits = rng.normal(size=(800, 5)) + 3 * np.eye(5)[truth]
    probabilities = softmax(logits.astype(np.float32))
    labels = truth.copy()
    flipped = rng.choice(800, 60, replace=False)
    labels[flipped] = (labels[flipped] + rng.integers(1, 5, 60)) % 5
    found = suspects(probabilities, labels.astype(np.int32))
    theirs = filters.find_label_issues(
        labels, probabilities, filter_by="confident_learning", return_indices_ranked_by="normalized_margin", n_jobs=1
    )
    assert set(theirs.tolist()) <= set(found.tolist())
    assert len(set(found.tolist()) - set(theirs.tolist())) <= 0.1 * len(found)
    assert np.isin(flipped, found).mean() > 0.55
    assert np.isin(found[:20], flipped).mean() > 0.9


def test_pictures_unlike_the_training_are_found() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 60)) * 3

    def draw(n: int) -> np.ndarray:
        return (centres[rng.integers(0, 5, n)] + rng.normal(size=(n, 60))).astype(np.float32)

    train, valid, usual = draw(1000), draw(400), draw(400)
    strange = (rng.normal(size=(20, 60)) * 4).astype(np.float32)
    found = novelty(np.concatenate([usual, strange]), train, valid)
    assert (found.rows >= 400).sum() == 20
    assert (found.rows < 400).mean() < 0.5
    assert novelty(usual, train, valid).share < 0.04


@pytest.mark.parametrize("kind", [LinearHead, CosineHead])
def test_a_tempered_head_divides_its_logits(kind) -> None:
    rng = np.random.default_rng(0)
    point = rng.normal(size=kind.size(8, 3)).astype(np.float32)
    head = kind.trained(point, np.zeros(8, np.float32), np.ones(8, np.float32))
    features = rng.normal(size=(5, 8)).astype(np.float32)
    assert head.tempered(2.5).logits(features) == pytest.approx(head.logits(features) / 2.5, rel=1e-5)


def blobs(counts: list[int], seed: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(len(counts), 12))
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    return (centres[labels] + spread * rng.normal(size=(len(labels), 12))).astype(np.float32), labels


def head_data(train: list[int], valid: list[int]) -> HeadData:
    (x, y), (xv, yv) = blobs(train, 1), blobs(valid, 2)
    features, labels = np.concatenate([x, xv]), np.concatenate([y, yv])
    return HeadData(FeatureTable.of(features), labels, np.arange(len(x)), np.arange(len(x), len(features)), len(train))


def test_more_pictures_bring_more_and_the_curve_says_how_much() -> None:
    data = head_data([160] * 4, [60] * 4)
    features, labels = blobs([200] * 4, 3)
    curve = learning_curve(data, features, labels, seed=0)
    assert curve is not None
    assert curve.pictures == (80, 160, 320, 640)
    assert curve.accuracy[0] < curve.accuracy[-1]
    assert curve.low <= curve.twice <= curve.high
    twice = head_data([320] * 4, [60] * 4)
    measured = learning_curve(twice, features, labels, seed=0)
    assert measured is not None
    assert curve.low - 0.02 <= measured.accuracy[-1] <= curve.high + 0.02
    assert learning_curve(head_data([10] * 4, [5] * 4), features, labels, seed=0) is None


def test_what_helps_against_unequal_classes_is_measured() -> None:
    from vizsla.training.config import LbfgsConfig
    from vizsla.training.heads import train_heads

    data = head_data([600, 40, 40], [60, 10, 10])
    features, labels = blobs([100, 100, 100], 4)
    (trained,) = train_heads(data, [LbfgsConfig()])
    plain = evaluate(trained.head.probabilities(features), labels, list("abc")).balanced_accuracy.value
    found = what_ifs(data, trained.head, features, labels, seed=0)
    assert len(found) == 2
    assert all(one.balanced_accuracy > plain + 0.02 for one in found)
    assert what_ifs(head_data([50] * 3, [9] * 3), trained.head, features, labels, seed=0) == []


def test_a_temperature_mends_a_boastful_head() -> None:
    data = head_data([200] * 3, [150] * 3)
    features, labels = blobs([150] * 3, 5)
    from vizsla.training.config import LbfgsConfig
    from vizsla.training.heads import train_heads

    (trained,) = train_heads(data, [LbfgsConfig()])
    boastful = trained.head.tempered(0.2)
    found = calibration(data, boastful, features, labels)
    assert found is not None
    assert found.temperature > 2
    assert found.loss_with < found.loss
    assert found.ece_with < found.ece
    probabilities = boastful.probabilities(features)
    assert found.ece == pytest.approx(evaluate(probabilities, labels, list("abc")).ece.value)
    assert calibration_error(probabilities, labels) == found.ece
