"""The linear head: features to class probabilities by one matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vizsla.models.heads.base import Doubles, Floats, Head, head_tensor


@dataclass(frozen=True)
class LinearHead(Head):
    """``logits = features @ weight.T + bias``; weight (classes, d) and bias (classes,), float32.

    As a point: weights (d, classes) row by row, then the bias, which nothing decays.
    """

    kind: ClassVar = "linear"

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """A BLAS product would round differently with the number of rows and threads; this sum does not, so that
        what evaluation measured is what a single request is answered."""
        products: Floats = np.einsum("nd,cd->nc", features, self.weight, optimize=False)
        return products + self.bias

    def evidence(self, feature_map: Floats, label: int) -> Doubles:
        """The class activation map (Zhou et al. 2016, arXiv:1512.04150)."""
        evidence: Doubles = np.einsum("dhw,d->hw", feature_map, self.weight[label], dtype=np.float64)
        return evidence

    def tensors(self) -> dict[str, Floats]:
        return {"weight": self.weight, "bias": self.bias}

    def tempered(self, temperature: float) -> Self:
        return replace(self, weight=self.weight / np.float32(temperature), bias=self.bias / np.float32(temperature))

    @classmethod
    def read(cls, tensors: Mapping[str, npt.NDArray[Any]], classes: int, features: int) -> Self:
        return cls(head_tensor(tensors, "weight", (classes, features)), head_tensor(tensors, "bias", (classes,)))

    @classmethod
    def size(cls, features: int, classes: int) -> int:
        return (features + 1) * classes

    @classmethod
    def start(cls, log_shares: Floats, means: Floats) -> Floats:
        return np.concatenate([np.zeros(means.size, np.float32), log_shares])

    @classmethod
    def decayed(cls, features: int, classes: int) -> npt.NDArray[np.bool_]:
        decayed = np.ones(cls.size(features, classes), np.bool_)
        decayed[-classes:] = False
        return decayed

    @classmethod
    def forward(cls, points: Floats, x: Floats, classes: int) -> Floats:
        t, d = len(points), x.shape[1]
        side_by_side = np.ascontiguousarray(points.reshape(t, d, classes).transpose(1, 0, 2)).reshape(d, t * classes)
        logits: Floats = (x @ side_by_side).reshape(len(x), t, classes)
        return logits

    @classmethod
    def backward(cls, points: Floats, x: Floats, gradient: Floats) -> Floats:
        n, t, c = gradient.shape
        product = (x.T @ gradient.reshape(n, t * c)).reshape(x.shape[1], t, c)
        return np.ascontiguousarray(product.transpose(1, 0, 2)).reshape(t, -1)

    @classmethod
    def trained(cls, point: Floats, mean: Floats, deviation: Floats) -> Self:
        weights = point.reshape(len(mean) + 1, -1)
        exact = weights[:-1].astype(np.float64) / deviation[:, None]
        bias = weights[-1] - mean.astype(np.float64) @ exact
        return cls(np.ascontiguousarray(exact.T, np.float32), bias.astype(np.float32))
