"""The numbers of a tensor: of many at once as of each alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vizsla.debugging.statistics import Together, blocks, finish, numbers

torch = pytest.importorskip("torch")


def test_many_tensors_have_the_numbers_that_each_has_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3,), (40, 7), (1,), (64, 3, 3, 3), (0,), (200, 300)]
    tensors = [torch.randn(shape, generator=generator) for shape in shapes]
    tensors[1][::2] = 0
    for tensor, row in zip(tensors, Together(tensors).rows, strict=True):
        if tensor.numel():
            assert row == pytest.approx(numbers(tensor).tolist(), rel=1e-5, abs=1e-5)
    assert math.isnan(Together(tensors).rows[4][0]), "of nothing there is no smallest"


def test_of_a_large_tensor_the_norm_is_exact_and_the_rest_near() -> None:
    tensor = torch.randn(512, 512, 3, 3, generator=torch.Generator().manual_seed(1))
    tensor[:, ::4] = 0
    n = tensor.numel()
    assert blocks(tensor).numel() == 1 << 16
    near, exact = finish(n, *Together([tensor]).rows[0]), finish(n, *numbers(tensor).tolist())
    low, high, mean, std, size, norm, zeros = (abs(a - b) for a, b in zip(near, exact, strict=True))
    assert norm < 1e-4 * exact[5]
    assert max(mean, std, size, zeros) < 0.01
    assert max(low, high) < 1.5, "of a normal distribution the ends of a sample are nearer"


def test_one_value_that_is_broken_is_seen_wherever_it_is() -> None:
    for value in (math.nan, math.inf):
        tensor = torch.zeros(1 << 20)
        tensor[2000] = value  # between two blocks
        assert not blocks(tensor).isnan().any()
        low, high, *_ = Together([tensor]).rows[0]
        assert not np.isfinite([low, high]).any()


def test_a_tensor_that_is_not_constant_has_a_spread_although_its_blocks_are() -> None:
    tensor = torch.zeros(1 << 20)
    for start in range(0, 1 << 20, 1 << 14):
        tensor[start + 4000 : start + 5000] = 1
    _, _, _, std, *_ = finish(tensor.numel(), *Together([tensor]).rows[0])
    assert std > 0.2
