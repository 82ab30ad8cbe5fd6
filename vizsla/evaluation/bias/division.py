"""Division as Clarify's metrics have it: 0 / 0 is 0, anything else / 0 is infinite."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


def divide(a: npt.ArrayLike, b: npt.ArrayLike) -> Doubles:
    """a / b, element by element."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(b, np.float64))
    result = np.where(a == 0, 0.0, np.copysign(np.inf, a))
    np.divide(a, b, out=result, where=b != 0)
    return result


def subtract(a: Doubles, b: Doubles) -> Doubles:
    """a - b, where the same infinity from itself is 0."""
    with np.errstate(invalid="ignore"):
        difference: Doubles = np.where(a == b, 0.0, np.asarray(a) - np.asarray(b))
    return difference
