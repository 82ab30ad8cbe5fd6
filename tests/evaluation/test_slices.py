"""Weak slices: planted ones are found, and where there is none, none is named."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.evaluation.clusters import clusters
from vizsla.evaluation.slices import LEVEL, candidates, weak_slices


def pictures(seed: int, n: int = 600, classes: int = 4):
    """Labels, properties, and which pictures the model is right about: classes differ, slices do not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n).astype(np.int32)
    right = rng.random(n) < np.linspace(0.75, 0.95, classes)[labels]
    brightness, sharpness = rng.normal(120, 30, n) + 20 * labels, rng.normal(size=n)
    camera = rng.choice(["one", "two", ""], n, p=[0.2, 0.5, 0.3])
    numbers = {
        "brightness": (brightness, "dark: below {}", "bright: above {}"),
        "sharpness": (sharpness, "blurred: below {}", "sharp: above {}"),
    }
    return rng, labels, right, numbers, {"camera": camera.tolist()}


def test_none_is_named_where_there_is_none_although_brightness_tells_the_class() -> None:
    assert LEVEL <= 0.005
    for seed in range(6):
        _, labels, right, numbers, categories = pictures(seed)
        assert weak_slices(candidates(numbers, categories), right, labels) == []


@pytest.mark.parametrize("about", ["brightness", "camera"])
def test_a_planted_slice_is_found_with_its_pictures(about: str) -> None:
    for seed in range(4):
        rng, labels, right, numbers, categories = pictures(seed)
        values = numbers["brightness"][0]
        planted = (
            values < np.quantile(values, 0.15) if about == "brightness" else np.array(categories["camera"]) == "one"
        )
        right = right & ~(planted & (rng.random(len(right)) < 0.35))
        found = weak_slices(candidates(numbers, categories), right, labels)
        assert found[0].about == about
        assert planted[found[0].rows].mean() > 0.6
        assert found[0].p <= LEVEL
        assert found[0].accuracy.value < found[0].rest - 0.05
        assert found[0].accuracy.low < found[0].accuracy.value < found[0].accuracy.high


def test_the_same_pictures_in_other_words_are_told_once() -> None:
    rng, labels, right, numbers, categories = pictures(1, n=800)
    brightness = numbers["brightness"][0]
    numbers["contrast"] = (brightness + rng.normal(0, 3, len(brightness)), "flat: below {}", "harsh: above {}")
    dark = brightness < np.quantile(brightness, 0.2)
    right = right & ~(dark & (rng.random(len(right)) < 0.5))
    found = weak_slices(candidates(numbers, categories), right, labels)
    assert len(found) == 1
    assert len(found[0].also) == 1


def test_clusters_tell_blobs_apart() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 100)) * 4
    truth = rng.integers(0, 3, 300)
    found = clusters((centres[truth] + rng.normal(size=(300, 100))).astype(np.float32), 3)
    assert all(len(np.unique(found[truth == k])) == 1 for k in range(3))
    assert len(np.unique(found)) == 3
