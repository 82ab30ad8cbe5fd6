"""Pairs of pictures in one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vizsla.training.fine_tuning.blending import blended

BATCH = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 20, 30)  # each picture is of its own number


def test_without_both_nothing_changes() -> None:
    batch, share, order = blended(BATCH, 0.0, 0.0, [0, 1])
    assert batch is BATCH
    assert share == 1.0
    assert order.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.3, 0.0), (0.0, 1.0), (0.3, 1.0)])
def test_what_is_left_of_each_picture_is_its_share(mixup: float, cutmix: float) -> None:
    shares = []
    for step in range(40):
        batch, share, order = blended(BATCH, mixup, cutmix, [0, step])
        expected = share * torch.arange(6.0) + (1 - share) * order
        torch.testing.assert_close(batch.mean((1, 2, 3)), expected, atol=1e-4, rtol=0)
        boxed = [
            set(picture.unique().tolist()) <= {float(own), float(other)}
            for own, (picture, other) in enumerate(zip(batch, order, strict=True))
        ]
        assert all(boxed) or mixup, "CutMix leaves every pixel as it is in one of the two"
        shares.append(share)
        assert torch.equal(batch, blended(BATCH, mixup, cutmix, [0, step])[0]), "a step draws the same again"
    assert np.std(shares) > 0.05
    assert torch.equal(BATCH[:, 0, 0, 0], torch.arange(6.0)), "what is read from a store is not written to"


def test_activations_without_height_and_width_are_mixed() -> None:
    batch, share, order = blended(torch.eye(4), 0.0, 1.0, [3])
    torch.testing.assert_close(batch, share * torch.eye(4) + (1 - share) * torch.eye(4)[order])
