"""Reductions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from vizsla.debugging.reductions import NORMS, REDUCTIONS
from vizsla.errors import UsageError


def get_numpy_reduction(reduction_name: str, numpy_data: Any, abs: bool = False) -> Any:
    """A reduction of an array by its name, or of the sizes of its elements.

    Raises
    ------
    UsageError
        For a name that there is not.
    """
    if reduction_name not in (*REDUCTIONS, *NORMS):
        raise UsageError(f"There is no reduction {reduction_name!r:.80}.", allowed=", ".join((*REDUCTIONS, *NORMS)))
    values = np.abs(numpy_data) if abs else np.asarray(numpy_data)
    if reduction_name in NORMS:
        return np.linalg.norm(values.ravel(), ord=int(reduction_name[1]))
    return getattr(np, {"variance": "var"}.get(reduction_name, reduction_name))(values)


def get_reduction_tensor_name(tensorname: str, reduction_name: str, abs: bool, remove_colon_index: bool = True) -> str:
    """What AWS's store calls a reduction."""
    name = tensorname.partition(":")[0] if remove_colon_index else tensorname
    return f"smdebug/reductions/{'abs_' if abs else ''}{reduction_name}/{name}"
