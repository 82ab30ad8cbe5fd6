"""The batched optimizers do what torch.optim does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vizsla.training.optimizers import BatchedOptimizer, Settings

torch = pytest.importorskip("torch")

CASES: list[tuple[Settings, Any]] = [
    (Settings("sgd", 0.1, 0.0, 0.0, False), lambda p: torch.optim.SGD(p, 0.1)),
    (Settings("sgd", 0.1, 0.01, 0.0, False), lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.01)),
    (Settings("sgd", 0.05, 0.01, 0.9, False), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01)),
    (Settings("sgd", 0.05, 0.0, 0.8, True), lambda p: torch.optim.SGD(p, 0.05, momentum=0.8, nesterov=True)),
    (Settings("adam", 0.01, 0.0, 0.0, False), lambda p: torch.optim.Adam(p, 0.01)),
    (Settings("adam", 0.01, 0.1, 0.0, False), lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1)),
    (Settings("adamw", 0.01, 0.1, 0.0, False), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
]
D, C, STEPS = 5, 3, 12


def torchs_path(make: Any, start: np.ndarray[Any, Any], gradients: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = make([parameter])
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
    return parameter.detach().numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("order", [list(range(len(CASES))), [6, 0, 4, 2, 5, 1, 3]])
def test_each_configuration_follows_its_own_torch_optimizer(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    t = len(CASES)
    start = rng.normal(size=(D, t, C)).astype(np.float32)
    gradients = rng.normal(size=(STEPS, D, t, C)).astype(np.float32)
    weights = np.concatenate([start, np.ones((1, t, C), np.float32)])  # the last row is the bias
    optimizer = BatchedOptimizer([CASES[i][0] for i in order], weights.shape)
    for gradient in gradients:
        optimizer.step(weights, np.concatenate([gradient, np.zeros((1, t, C), np.float32)]))
    assert (weights[-1] == 1).all(), "nothing decays the bias"
    for at, i in enumerate(order):
        expected = torchs_path(CASES[i][1], start[:, at], gradients[:, :, at])
        assert np.allclose(weights[:-1, at], expected, rtol=2e-5, atol=2e-6), CASES[i][0]


def test_going_on_with_some_changes_nothing_for_them() -> None:
    rng = np.random.default_rng(1)
    settings = [case[0] for case in CASES]
    weights = rng.normal(size=(D, len(settings), C)).astype(np.float32)
    gradients = rng.normal(size=(STEPS, D, len(settings), C)).astype(np.float32)
    kept = np.array([1, 3, 6])
    all_weights, some = weights.copy(), weights.copy()
    whole, part = BatchedOptimizer(settings, weights.shape), BatchedOptimizer(settings, weights.shape)
    for step, gradient in enumerate(gradients):
        whole.step(all_weights, gradient.copy())
        if step == 5:
            part.keep(kept)
            some = np.ascontiguousarray(some[:, kept])
        part.step(some, gradient[:, kept].copy() if step >= 5 else gradient.copy())
    assert np.array_equal(some, all_weights[:, kept])
