"""Frozen batch normalisation in the convolutions: the same answers and the same gradients of the same parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vizsla.models.backbone import load_backbone
from vizsla.models.folding import folded
from vizsla.models.trunk import DividedBackbone, Features
from vizsla.models.weights import BackboneSpec


def body_of(name: str, place: str | None) -> tuple[nn.Module, torch.Tensor]:
    """All of a network or what lies behind a cut, with statistics and scales like those of a trained one."""
    torch.manual_seed(0)
    backbone = load_backbone(BackboneSpec.resolve(name, random_init=True))
    for module in backbone.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2)
            for tensor in (module.running_mean, module.bias.data):
                tensor.uniform_(-1, 1)
    if place is None:
        return Features(backbone.module).eval(), torch.randn(2, 3, 32, 32)
    divided = DividedBackbone(backbone)
    (shape,) = (cut.shape for cut in divided.cuts if cut.place == place)
    return divided.split(place)[1], torch.randn(2, *shape)


@pytest.mark.parametrize(
    ("name", "place", "left"),
    [("test_resnet", None, 0), ("test_resnet", "layer4.0", 0), ("test_efficientnet", None, 0), ("test_vit", None, 0)],
)
def test_answers_and_gradients_are_the_same(name: str, place: str | None, left: int) -> None:
    body, pixels = body_of(name, place)
    body.requires_grad_(True)
    called = []
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *call: called.append(call))
    results = []
    for run in (body, folded(body)):
        called.clear()
        body.zero_grad()
        answers = run(pixels)
        answers.square().sum().backward()
        results.append(
            (answers.detach(), {n: p.grad.clone() for n, p in body.named_parameters() if p.grad is not None})
        )
    (plain, expected), (answers, gradients) = results
    assert len(called) == left, "normalisations that are still a pass of their own"
    torch.testing.assert_close(answers, plain, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected.keys()
    for parameter, gradient in expected.items():
        torch.testing.assert_close(gradients[parameter], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_it_follows_the_weights_as_they_change() -> None:
    body, pixels = body_of("test_resnet", None)
    run = folded(body)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.mul_(1.1)
        torch.testing.assert_close(run(pixels), body(pixels), rtol=1e-4, atol=1e-5)


class Depends(nn.Module):
    """A way that depends on the pictures, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(pixels)) if pixels.sum() > 0 else pixels


class Fork(nn.Module):
    """What a convolution gives is used twice: its normalisation is not all that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        between = self.conv(pixels)
        return between + self.norm(between)


@pytest.mark.parametrize("network", [Depends, Fork])
def test_what_cannot_be_folded_is_left(network: type[nn.Module]) -> None:
    body, pixels = network().eval(), torch.rand(1, 3, 8, 8)
    assert torch.equal(folded(body)(pixels), body(pixels))
