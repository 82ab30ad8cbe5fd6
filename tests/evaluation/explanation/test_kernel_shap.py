"""Kernel SHAP against Shapley's definition, and the segments that it is asked about."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from vizsla.evaluation.explanation.asking import Composed
from vizsla.evaluation.explanation.kernel_shap import kernel_shap
from vizsla.evaluation.explanation.superpixels import superpixels


def shapley(value, parts: int) -> np.ndarray:
    """The definition (Shapley 1953): the mean gain of a part over all orders in which the parts may come."""
    phi = np.zeros((parts, value(np.zeros((1, parts), bool)).shape[1]))
    for part in range(parts):
        others = [other for other in range(parts) if other != part]
        for size in range(parts):
            weight = factorial(size) * factorial(parts - size - 1) / factorial(parts)
            for chosen in combinations(others, size):
                mask = np.zeros((2, parts), bool)
                mask[:, list(chosen)] = True
                mask[1, part] = True
                without, with_ = value(mask)
                phi[part] += weight * (with_ - without)
    return phi


def game(parts: int, seed: int):
    """A model with interactions: a small network of two layers."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(parts, 16)), rng.normal(size=(16, 3))

    def value(masks: np.ndarray) -> np.ndarray:
        logits = np.tanh(masks @ first) @ second
        exponentials = np.exp(logits)
        return exponentials / exponentials.sum(axis=1, keepdims=True)

    return value


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 9])
def test_with_every_coalition_it_is_shapleys_value(parts: int) -> None:
    value = game(parts, parts)
    found = kernel_shap(value, parts, 2**parts)
    assert found.exact
    assert found.samples == max(2, 2**parts)
    assert found.values == pytest.approx(shapley(value, parts), abs=1e-3)
    assert found.values == pytest.approx(shapley(value, parts), abs=1e-9)


def test_of_twelve_segments_all_coalitions_are_exact() -> None:
    value = game(12, 0)
    assert kernel_shap(value, 12, 4096).values[:1] == pytest.approx(shapley(value, 12)[:1], abs=1e-3)


def test_fewer_samples_come_near_and_always_add_up() -> None:
    value = game(16, 1)
    exact = kernel_shap(value, 16, 2**16)
    errors = []
    for samples in (100, 500, 4000):
        found = kernel_shap(value, 16, samples, seed=3)
        assert not found.exact
        assert found.samples <= samples + 2
        assert found.values.sum(axis=0) == pytest.approx(found.full - found.base, abs=1e-9)
        errors.append(np.abs(found.values - exact.values).max())
    assert errors[2] < errors[1] < errors[0]
    assert errors[1] < 0.05
    again = kernel_shap(value, 16, 500, seed=3)
    assert np.array_equal(again.values, kernel_shap(value, 16, 500, seed=3).values)


def test_pictures_are_composed_of_the_pieces_that_are_present() -> None:
    rng = np.random.default_rng(0)
    pixels, absent = rng.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
    pieces, masks = rng.integers(0, 5, (30, 40)), rng.random((8, 5)) < 0.5
    composed = Composed(pixels, absent, pieces, masks)
    assert len(composed) == 8
    for at, mask in enumerate(masks):
        assert np.array_equal(composed[at], np.where(mask[pieces][..., None], pixels, absent))


def test_superpixels_hang_together_and_follow_an_edge() -> None:
    pixels = np.full((120, 160, 3), (200, 40, 40), np.uint8)
    y, x = np.mgrid[:120, :160]
    inside = (x - 80) ** 2 + (y - 55) ** 2 < 40**2
    pixels[inside] = (30, 60, 220)
    noise = np.random.default_rng(0).integers(0, 12, pixels.shape).astype(np.uint8)
    pieces = superpixels(pixels + noise, 20, 5)
    count = int(pieces.max()) + 1
    assert 12 <= count <= 24
    assert np.array_equal(np.unique(pieces), np.arange(count))
    mixed = sum(min(inside[pieces == k].sum(), (~inside)[pieces == k].sum()) for k in range(count))
    assert mixed < 0.01 * pieces.size
    for k in range(count):
        assert connected(pieces == k)


def connected(mask: np.ndarray) -> bool:
    """Whether a flood from one place of the mask reaches all of it."""
    reached = np.zeros_like(mask)
    reached[tuple(np.argwhere(mask)[0])] = True
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if np.array_equal(grown, reached):
            return bool(np.array_equal(reached, mask))
        reached = grown


def test_large_compactness_gives_squares() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    sizes = np.bincount(superpixels(pixels, 25, 10000).ravel())
    assert len(sizes) == 25
    assert np.median(np.abs(sizes - 400)) < 20
