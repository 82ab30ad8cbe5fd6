"""What every kind of head must do, whoever adds one."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.errors import ModelError
from vizsla.models.heads import HEADS, Head

N, D, C = 40, 12, 5


@pytest.fixture(params=sorted(HEADS))
def kind(request: pytest.FixtureRequest) -> type[Head]:
    return HEADS[request.param]


def inputs(seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(N, D + 1)).astype(np.float32)
    x[:, -1] = 1
    return x


def points(kind: type[Head], count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, kind.size(D, C))).astype(np.float32)


def head(kind: type[Head]) -> Head:
    rng = np.random.default_rng(2)
    deviation = rng.uniform(0.5, 2, D).astype(np.float32)
    return kind.trained(points(kind, 1)[0], rng.normal(size=D).astype(np.float32), deviation)


def test_the_gradient_is_that_of_the_logits(kind: type[Head]) -> None:
    at, x = points(kind, 2), inputs()
    wanted = np.random.default_rng(3).normal(size=(N, 2, C)).astype(np.float32)

    def value(point: np.ndarray) -> np.ndarray:
        logits = kind.forward(point.astype(np.float32), x, C).astype(np.float64)
        return (logits * wanted).sum(axis=(0, 2))

    found = kind.backward(at, x, wanted)
    assert found.shape == at.shape
    for k in np.random.default_rng(4).choice(at.shape[1], 12, replace=False):
        step = np.zeros_like(at)
        step[:, k] = 1e-2
        expected = (value(at + step) - value(at - step)) / 2e-2
        assert np.allclose(found[:, k], expected, rtol=2e-2, atol=2e-2)


def test_trained_answers_what_the_point_says_of_standardised_features(kind: type[Head]) -> None:
    rng, x, at = np.random.default_rng(2), inputs(), points(kind, 1)
    deviation = rng.uniform(0.5, 2, D).astype(np.float32)
    mean = rng.normal(size=D).astype(np.float32)
    features = x[:, :-1] * deviation + mean
    answered = kind.trained(at[0], mean, deviation).logits(features)
    assert np.allclose(answered, kind.forward(at, x, C)[:, 0], atol=1e-3)


def test_a_row_is_answered_to_the_same_bits_alone_and_among_others(kind: type[Head]) -> None:
    h, features = head(kind), inputs()[:, :-1]
    together = h.probabilities(features)
    assert np.array_equal(together, np.concatenate([h.probabilities(row[None]) for row in features]))
    assert np.allclose(together.sum(axis=1), 1)


def test_comes_back_from_its_tensors(kind: type[Head]) -> None:
    h, features = head(kind), inputs()[:, :-1]
    again = kind.read(h.tensors(), C, D)
    assert np.array_equal(h.probabilities(features), again.probabilities(features))
    assert h.nbytes == sum(tensor.nbytes for tensor in h.tensors().values())


def test_damaged_tensors_are_refused_by_name(kind: type[Head]) -> None:
    tensors = head(kind).tensors()
    with pytest.raises(ModelError, match="The head has no tensor 'bias'"):
        kind.read({name: tensor for name, tensor in tensors.items() if name != "bias"}, C, D)
    with pytest.raises(ModelError, match=r"The head's bias has shape \(5,\) float32, the model needs \(7,\) float32"):
        kind.read(tensors | {k: np.zeros((C + 2, D), np.float32) for k in ("weight", "direction")}, C + 2, D)
    with pytest.raises(ModelError, match="no numbers"):
        kind.read(tensors | {"bias": np.full(C, np.nan, np.float32)}, C, D)


def test_evidence_speaks_of_places(kind: type[Head]) -> None:
    h = head(kind)
    feature_map = np.random.default_rng(5).normal(size=(D, 3, 4)).astype(np.float32)
    evidence = h.evidence(feature_map, 2)
    assert evidence.shape == (3, 4)
    logit = h.logits(feature_map.mean(axis=(1, 2))[None])[0, 2]
    bias = h.tensors()["bias"][2]
    assert evidence.mean() == pytest.approx(logit - bias, abs=1e-3)


def test_the_start_and_what_decays_fit_the_points(kind: type[Head]) -> None:
    start = kind.start(np.log(np.full(C, 1 / C, np.float32)), np.ones((C, D), np.float32))
    assert start.shape == kind.decayed(D, C).shape == (kind.size(D, C),)
    assert start.dtype == np.float32
