"""What a head is: the part of a model between features and class probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from vizsla.errors import ModelError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class Head(ABC):
    """Features (n, d) to class probabilities (n, classes), and back to what spoke for a class.

    The life of a kind, in order:

    1. *Training* knows a head as a point of ``size`` float32 numbers, on standardised features with a column of ones,
       (n, d + 1). It begins at :meth:`start`, asks :meth:`forward` for logits and :meth:`backward` for their gradient,
       several points side by side, and ends with :meth:`trained`, which folds the standardisation in.
    2. The saved model holds ``kind`` and :meth:`tensors`; :meth:`read` makes the head of them again.
    3. *Answering* calls :meth:`logits`, whose bits must not depend on the rows that are asked about together, and
       :meth:`evidence` for the explanation.

    A new kind is a file beside this one and a row in :data:`vizsla.models.heads.HEADS`.
    """

    kind: ClassVar[str]

    bias: Floats
    """(classes,): the logits of a picture whose evidence is nothing."""

    @abstractmethod
    def logits(self, features: Floats) -> Floats:
        """(n, d) to (n, classes), each row the same to the last bit alone or among others."""

    @abstractmethod
    def evidence(self, feature_map: Floats, label: int) -> Doubles:
        """Feature map (d, h, w) to what each place adds to the logit of a class, (h, w): the mean over the places and
        ``bias`` are the logit."""

    @abstractmethod
    def tensors(self) -> dict[str, Floats]:
        """All its numbers by name, as ``head.safetensors`` keeps them."""

    @classmethod
    @abstractmethod
    def read(cls, tensors: Mapping[str, npt.NDArray[Any]], classes: int, features: int) -> Self:
        """The head of these numbers.

        Raises
        ------
        ModelError
            When one is missing or of another shape (:func:`head_tensor` says so).
        """

    @classmethod
    @abstractmethod
    def size(cls, features: int, classes: int) -> int:
        """Numbers of a point."""

    @classmethod
    @abstractmethod
    def start(cls, log_shares: Floats, means: Floats) -> Floats:
        """Where training begins, (size,), from the logarithm of the classes' shares (classes,) and the mean
        standardised features of each class (classes, d)."""

    @classmethod
    @abstractmethod
    def decayed(cls, features: int, classes: int) -> npt.NDArray[np.bool_]:
        """Which numbers of a point the decay draws to zero, (size,)."""

    @classmethod
    @abstractmethod
    def forward(cls, points: Floats, x: Floats, classes: int) -> Floats:
        """Logits (n, t, classes) of t points (t, size) for rows (n, d + 1)."""

    @classmethod
    @abstractmethod
    def backward(cls, points: Floats, x: Floats, gradient: Floats) -> Floats:
        """The gradient at the points, (t, size), from that at the logits, (n, t, classes)."""

    @classmethod
    @abstractmethod
    def trained(cls, point: Floats, mean: Floats, deviation: Floats) -> Self:
        """The head of a point, for features as they are, which were standardised by mean and deviation (d,)."""

    @abstractmethod
    def tempered(self, temperature: float) -> Self:
        """The head whose logits are these divided by ``temperature``: the same answers, more or less sure (Guo et al.
        2017, arXiv:1706.04599)."""

    def probabilities(self, features: Floats) -> Floats:
        """(n, d) to (n, classes) float32, each row summing to 1."""
        return softmax(self.logits(features))

    @property
    def nbytes(self) -> int:
        """Memory of its numbers."""
        return sum(tensor.nbytes for tensor in self.tensors().values())


def softmax(logits: Floats) -> Floats:
    """Softmax over the last axis, computed in float64, returned as float32."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: Floats = (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)
    return result


def head_tensor(tensors: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...]) -> Floats:
    """One of a head's tensors, checked.

    Raises
    ------
    ModelError
        When it is missing, of another shape or type, or holds values that are no numbers.
    """
    tensor = tensors.get(name)
    if tensor is None:
        raise ModelError(f"The head has no tensor {name!r}.", do="train the model again")
    if tensor.shape != shape or tensor.dtype != np.float32:
        raise ModelError(
            f"The head's {name} has shape {tensor.shape} {tensor.dtype}, the model needs {shape} float32.",
            do="train the model again",
        )
    if not np.isfinite(tensor).all():
        raise ModelError("The head holds values that are no numbers.", do="train the model again")
    return tensor
