"""The cosine head: how near a picture's direction is to that of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vizsla.models.heads.base import Doubles, Floats, Head, head_tensor

_TINY = np.float32(1e-12)


@dataclass(frozen=True)
class CosineHead(Head):
    """``logits = cos(standardised features, direction) * scale + bias``.

    Length says nothing, only the direction counts (Gidaris and Komodakis 2018, arXiv:1804.09458; Chen et al. 2019,
    arXiv:1904.04232, whose Baseline++ this is). direction (classes, d), each of length 1; scale (1,); bias (classes,);
    mean and deviation (d,), all float32.

    As a point: directions (d, classes) row by row, of any length, then the bias, then the scale, which alone the decay
    draws to zero: there the answer is the constant one.
    """

    kind: ClassVar = "cosine"

    direction: Floats
    scale: Floats
    bias: Floats
    mean: Floats
    deviation: Floats

    def logits(self, features: Floats) -> Floats:
        """The sums do not depend on the number of rows, as in the linear head."""
        x = (features - self.mean) / self.deviation
        length = np.sqrt(np.einsum("nd,nd->n", x, x, optimize=False))
        products: Floats = np.einsum("nd,cd->nc", x, self.direction, optimize=False)
        logits: Floats = products / np.maximum(length, _TINY)[:, None] * self.scale + self.bias
        return logits

    def evidence(self, feature_map: Floats, label: int) -> Doubles:
        """What each place adds to the cosine of the mean over the places."""
        standard = (feature_map - self.mean[:, None, None]) / self.deviation[:, None, None]
        length = float(np.linalg.norm(standard.mean(axis=(1, 2))))
        evidence: Doubles = np.einsum("dhw,d->hw", standard, self.direction[label], dtype=np.float64)
        return evidence * (float(self.scale[0]) / max(length, float(_TINY)))

    def tensors(self) -> dict[str, Floats]:
        return {
            "direction": self.direction,
            "scale": self.scale,
            "bias": self.bias,
            "mean": self.mean,
            "deviation": self.deviation,
        }

    def tempered(self, temperature: float) -> Self:
        return replace(self, scale=self.scale / np.float32(temperature), bias=self.bias / np.float32(temperature))

    @classmethod
    def read(cls, tensors: Mapping[str, npt.NDArray[Any]], classes: int, features: int) -> Self:
        shapes = {"direction": (classes, features), "scale": (1,), "bias": (classes,)}
        shapes |= {"mean": (features,), "deviation": (features,)}
        return cls(**{name: head_tensor(tensors, name, shape) for name, shape in shapes.items()})

    @classmethod
    def size(cls, features: int, classes: int) -> int:
        return (features + 1) * classes + 1

    @classmethod
    def start(cls, log_shares: Floats, means: Floats) -> Floats:
        """At the classes' own means, where a class has one."""
        return np.concatenate([means.T.ravel(), log_shares, np.ones(1, np.float32)])

    @classmethod
    def decayed(cls, features: int, classes: int) -> npt.NDArray[np.bool_]:
        decayed = np.zeros(cls.size(features, classes), np.bool_)
        decayed[-1] = True
        return decayed

    @classmethod
    def forward(cls, points: Floats, x: Floats, classes: int) -> Floats:
        directions, _, bias, scale = cls._parts(points, classes)
        return _cosines(directions, x) * scale[:, None] + bias

    @classmethod
    def backward(cls, points: Floats, x: Floats, gradient: Floats) -> Floats:
        classes = gradient.shape[2]
        directions, lengths, _, scale = cls._parts(points, classes)
        t, unit = len(points), _unit(x)
        pulled = np.stack([unit.T @ gradient[:, at] for at in range(t)]) * scale[:, None, None]
        # Along the direction itself nothing changes: its length cancels.
        pulled -= directions * (directions * pulled).sum(axis=1, keepdims=True)
        pulled /= lengths
        along = (gradient * _cosines(directions, x)).sum(axis=(0, 2))
        return np.concatenate([pulled.reshape(t, -1), gradient.sum(axis=0), along[:, None]], axis=1)

    @classmethod
    def trained(cls, point: Floats, mean: Floats, deviation: Floats) -> Self:
        classes = (len(point) - 1) // (len(mean) + 1)
        directions, _, bias, scale = cls._parts(point[None], classes)
        return cls(np.ascontiguousarray(directions[0].T), scale.copy(), bias[0].copy(), mean, deviation)

    @classmethod
    def _parts(cls, points: Floats, classes: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Directions of length 1 (t, d, classes), the lengths they had (t, 1, classes), bias, scale (t,)."""
        t = len(points)
        free = points[:, : -classes - 1].reshape(t, -1, classes)
        lengths = np.maximum(np.linalg.norm(free, axis=1, keepdims=True), _TINY)
        return free / lengths, lengths, points[:, -classes - 1 : -1], points[:, -1]


def _unit(x: Floats) -> Floats:
    """Rows without their column of ones, each of length 1."""
    rows = x[:, :-1]
    result: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return result


def _cosines(directions: Floats, x: Floats) -> Floats:
    unit = _unit(x)
    return np.stack([unit @ direction for direction in directions], axis=1)
