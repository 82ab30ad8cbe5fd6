"""A backbone is cut in two without its answers changing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vizsla.errors import ModelError, UsageError
from vizsla.models.backbone import load_backbone
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import trunk_to_onnx
from vizsla.models.trunk import DividedBackbone, choose_cut
from vizsla.models.weights import BackboneSpec

NAMES = ("test_resnet", "test_efficientnet", "test_convnext", "test_nfnet", "test_byobnet", "mobilenetv3_small_050")


def divided(name: str) -> DividedBackbone:
    return DividedBackbone(load_backbone(BackboneSpec.resolve(name, random_init=True)))


@pytest.mark.parametrize("name", NAMES)
def test_trunk_and_tail_are_the_whole(name: str) -> None:
    backbone = divided(name)
    size = backbone.backbone.preprocessing.size
    pixels = torch.randn(2, 3, size, size)
    assert len(backbone.cuts) >= 3
    assert [cut.share for cut in backbone.cuts] == sorted((cut.share for cut in backbone.cuts), reverse=True)
    with torch.inference_mode():
        whole = backbone.features(pixels)
        for cut in backbone.cuts:
            trunk, tail = backbone.split(cut.place)
            activations = trunk(pixels)
            assert activations.shape[1:] == cut.shape
            assert torch.equal(tail(activations), whole), cut.place


def test_training_the_tail_trains_the_backbone() -> None:
    backbone = divided("test_resnet")
    _, tail = backbone.split("layer4.0")
    own = dict(tail.named_parameters())
    assert own
    assert not any(name.startswith("module.layer1") for name in own)
    with torch.no_grad():
        own["module.layer4.0.conv1.weight"].zero_()
    assert not backbone.backbone.module.layer4[0].conv1.weight.any()


def test_the_exported_trunk_says_what_the_trunk_does() -> None:
    backbone = divided("test_resnet")
    trunk, _ = backbone.split("layer3.0")
    preprocessing = backbone.backbone.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (1, preprocessing.size, preprocessing.size, 3), np.uint8)
    with torch.inference_mode():
        expected = trunk(torch.from_numpy(preprocessing.normalise(pixels))).numpy()
    activations = OnnxEngine(trunk_to_onnx(trunk, preprocessing)).activations(pixels)
    assert np.allclose(activations, expected, atol=1e-3 * np.abs(expected).max())


def test_a_cut_is_chosen_by_the_operations_behind_it() -> None:
    cuts = divided("test_resnet").cuts
    assert choose_cut(cuts, None).place == "layer2.0"
    assert choose_cut(cuts, "layer4.0").place == "layer4.0"


def test_a_block_that_is_not_there_is_named_beside_those_that_are() -> None:
    backbone = divided("test_resnet")
    with pytest.raises(UsageError) as caught:
        backbone.split("layer9.0")
    assert "no block 'layer9.0'" in caught.value.what
    assert "layer3.0, layer4.0" in str(caught.value.allowed)


def test_a_backbone_that_cannot_be_traced_says_what_to_do() -> None:
    with pytest.raises(ModelError) as caught:
        divided("test_vit")
    assert "cannot be cut" in caught.value.what
    assert "depth='head' or depth='full'" in str(caught.value.do)
