"""The map adds up to the logit, for each kind of head, and is refused where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from vizsla.errors import ModelError
from vizsla.evaluation.explanation.activation_map import activation_map
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ensure_exported
from vizsla.models.heads import HEADS, Head, LinearHead
from vizsla.models.weights import BackboneSpec
from vizsla.settings import settings


def a_head(kind: type[Head], features: int, rng: np.random.Generator) -> Head:
    point = rng.normal(size=kind.size(features, 3)).astype(np.float32)
    return kind.trained(point, rng.normal(size=features).astype(np.float32), np.ones(features, np.float32))


@pytest.mark.parametrize("kind", HEADS.values(), ids=list(HEADS))
def test_the_places_add_up_to_the_logit_of_a_real_backbone(kind: type[Head], tiny_backbone) -> None:
    rng, engine = np.random.default_rng(0), OnnxEngine(tiny_backbone.path)
    size = tiny_backbone.preprocessing.size
    for _ in range(5):
        pixels = rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        features, feature_map = engine.features_and_map(pixels)
        head = a_head(kind, features.shape[1], rng)
        for label in range(3):
            found = activation_map(features, feature_map, head, label, "test_resnet")
            assert found.logit == head.logits(features)[0, label]
            assert found.evidence.sum() + found.bias == pytest.approx(found.logit, abs=1e-4 * max(1, abs(found.logit)))


def test_a_map_that_is_not_averaged_is_refused() -> None:
    rng = np.random.default_rng(0)
    feature_map = rng.normal(size=(1, 8, 4, 4)).astype(np.float32)
    features = feature_map.max(axis=(2, 3))
    head = a_head(LinearHead, 8, rng)
    for other in (feature_map, feature_map[:, :4], np.zeros((1, 17, 8), np.float32)):
        with pytest.raises(ModelError, match="has no feature map that its features are the average of") as caught:
            activation_map(features, other, head, 0, "vit_tiny")
        assert "kernel_shap" in str(caught.value)


def test_a_transformer_has_no_map() -> None:
    backbone = ensure_exported(BackboneSpec.resolve("test_vit", random_init=True), settings().cache)
    size = backbone.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    features, feature_map = OnnxEngine(backbone.path).features_and_map(pixels)
    head = a_head(LinearHead, features.shape[1], np.random.default_rng(0))
    with pytest.raises(ModelError, match="has no feature map"):
        activation_map(features, feature_map, head, 0, "test_vit")
