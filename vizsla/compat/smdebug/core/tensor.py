"""One recorded tensor over the steps."""

from vizsla.debugging.tensor import StepState, Tensor

__all__ = ["StepState", "Tensor"]
