"""How sure a classifier's logits should sound: one number that divides them (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_LOW, _HIGH = math.log(0.05), math.log(20.0)


def losses(logits: Floats, labels: npt.NDArray[np.int32], temperature: float = 1.0) -> Doubles:
    """The cross-entropy (nats) of each picture, (n,), from logits (n, classes) divided by ``temperature``."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    own: Doubles = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]
    return own


def best_temperature(logits: Floats, labels: npt.NDArray[np.int32]) -> float:
    """The temperature with the lowest mean cross-entropy, between 0.05 and 20."""
    low, high = _LOW, _HIGH
    for _ in range(40):  # the loss is convex in 1/T, and so has one valley
        third = (high - low) / 3
        if losses(logits, labels, math.exp(low + third)).mean() < losses(logits, labels, math.exp(high - third)).mean():
            high -= third
        else:
            low += third
    return math.exp((low + high) / 2)
