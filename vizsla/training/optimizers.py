"""Optimizers for many heads at once: each configuration has its own hyperparameters, all share one update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Optimizer = Literal["sgd", "adam", "adamw"]

_ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class Settings:
    """One configuration's optimizer. ``beta1`` and ``beta2`` are Adam's; ``momentum`` and ``nesterov`` SGD's."""

    optimizer: Optimizer
    lr: float
    weight_decay: float
    momentum: float
    nesterov: bool
    beta1: float = 0.9
    beta2: float = 0.999


class BatchedOptimizer:
    """Updates weights of shape (d, t, c) for t configurations, as ``torch.optim``'s SGD, Adam and AdamW do.

    The last row, along d, is the bias: nothing decays it.

    Sources: PyTorch's documentation of ``SGD`` (weight decay added to the gradient, momentum buffer started with
    the first gradient, Nesterov), ``Adam`` (L2 penalty) and ``AdamW`` (decoupled decay; Loshchilov and Hutter
    2019). Rows of a configuration depend on that configuration only.
    """

    def __init__(self, settings: Sequence[Settings], shape: tuple[int, int, int]) -> None:
        self._settings = list(settings)
        self._first = np.zeros(shape, np.float32)
        self._second = np.zeros(shape, np.float32) if any(s.optimizer != "sgd" for s in settings) else None
        self._step = 0

    def keep(self, positions: npt.NDArray[np.int64]) -> None:
        """Go on with some of the configurations only."""
        self._settings = [self._settings[i] for i in positions]
        self._first = np.ascontiguousarray(self._first[:, positions])
        if self._second is not None:
            self._second = np.ascontiguousarray(self._second[:, positions])

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the steps so far have left, by name."""
        second = {} if self._second is None else {"second": self._second}
        return {"first": self._first, "step": np.array([self._step]), **second}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a :meth:`state` of the same configurations."""
        self._first, self._second, self._step = state["first"], state.get("second"), int(state["step"][0])

    def step(self, weights: Floats, gradients: Floats) -> None:
        """Change ``weights`` in place."""
        self._step += 1
        for kind in ("sgd", "adam", "adamw"):
            where = [i for i, s in enumerate(self._settings) if s.optimizer == kind]
            if not where:
                continue
            # A slice keeps views; a list of positions would copy and lose the update.
            if len(where) == len(self._settings):
                self._update(kind, slice(None), weights, gradients)
            else:
                for start, stop in _runs(where):
                    self._update(kind, slice(start, stop), weights, gradients)

    def _update(self, kind: str, part: slice, weights: Floats, gradients: Floats) -> None:
        w, g = weights[:, part], gradients[:, part]
        settings = self._settings[part]
        lr, decay = _column(settings, "lr"), _column(settings, "weight_decay")
        if kind == "sgd":
            self._sgd(part, settings, w, g, lr, decay)
            return
        assert self._second is not None
        first, second = self._first[:, part], self._second[:, part]
        beta1, beta2 = _column(settings, "beta1"), _column(settings, "beta2")
        if kind == "adamw":
            w[:-1] *= 1 - lr * decay
        elif decay.any():
            g = _with_penalty(g, decay, w)
        first *= beta1
        first += (1 - beta1) * g
        second *= beta2
        second += (1 - beta2) * g * g
        size = np.sqrt(second)
        size /= np.sqrt(1 - beta2**self._step)
        size += np.float32(_ADAM_EPSILON)
        w -= (lr / (1 - beta1**self._step)) * first / size

    def _sgd(self, part: slice, settings: Sequence[Settings], w: Floats, g: Floats, lr: Floats, decay: Floats) -> None:
        momentum = _column(settings, "momentum")
        if decay.any():
            g = _with_penalty(g, decay, w)
        if not momentum.any():
            w -= lr * g
            return
        buffer = self._first[:, part]
        buffer *= momentum
        buffer += g
        nesterov = np.array([s.nesterov for s in settings], np.float32)[None, :, None]
        if nesterov.any():
            # Nesterov: gradient + momentum * buffer; else the buffer itself.
            w -= lr * (nesterov * (g + momentum * buffer) + (1 - nesterov) * buffer)
        else:
            w -= lr * buffer


def _with_penalty(g: Floats, decay: Floats, w: Floats) -> Floats:
    penalised = g.copy()
    penalised[:-1] += decay * w[:-1]
    return penalised


def _column(settings: Sequence[Settings], name: str) -> Floats:
    return np.array([getattr(s, name) for s in settings], np.float32)[None, :, None]


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """[0, 1, 2, 5, 6] to [(0, 3), (5, 7)]."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position:
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    return runs
