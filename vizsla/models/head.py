"""The linear head: features to class probabilities, the same to the last bit alone or in a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """``logits = features @ weight.T + bias``; weight (classes, d) and bias (classes,), float32."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """(n, d) to (n, classes).

        A BLAS product would round differently with the number of rows and threads; this sum does not, so that
        what evaluation measured is what a single request is answered.
        """
        products: Floats = np.einsum("nd,cd->nc", features, self.weight, optimize=False)
        return products + self.bias

    def probabilities(self, features: Floats) -> Floats:
        """(n, d) to (n, classes) float32, each row summing to 1."""
        return softmax(self.logits(features))


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, computed in float64, returned as float32."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: Floats = (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result
