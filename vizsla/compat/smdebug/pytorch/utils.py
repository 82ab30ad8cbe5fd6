"""What may be asked of PyTorch."""

from __future__ import annotations

from typing import Any


def is_pt_1_5() -> bool:
    """Whether this is PyTorch 1.5: it is newer."""
    return False


def get_reduction_of_data(reduction_name: str, tensor_data: Any, tensor_name: str, abs: bool = False) -> Any:
    """A reduction of a tensor by its name, as a tensor."""
    values = tensor_data.detach()
    values = values.abs() if abs else values
    if reduction_name in ("l1", "l2"):
        return values.float().norm(int(reduction_name[1]))
    return getattr(values.float(), {"variance": "var"}.get(reduction_name, reduction_name))()


def make_numpy_array(x: Any) -> Any:
    """A tensor as a numpy array."""
    import numpy as np

    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
