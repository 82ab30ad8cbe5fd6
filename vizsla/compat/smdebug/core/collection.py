"""Named groups of tensors."""

from __future__ import annotations

from collections.abc import Sequence

from smdebug.core.reduction_config import ReductionConfig
from smdebug.core.save_config import SaveConfig


class CollectionKeys:
    """Names of the collections that are always there."""

    DEFAULT = "default"
    ALL = "all"
    INPUTS = "inputs"
    OUTPUTS = "outputs"
    WEIGHTS = "weights"
    BIASES = "biases"
    GRADIENTS = "gradients"
    LOSSES = "losses"
    METRICS = "metrics"
    OPTIMIZER_VARIABLES = "optimizer_variables"


class Collection:
    """A group of tensors chosen by name."""

    def __init__(
        self,
        name: str,
        include_regex: Sequence[str] | str | None = None,
        tensor_names: Sequence[str] | None = None,
        reduction_config: ReductionConfig | None = None,
        save_config: SaveConfig | None = None,
        save_histogram: bool = True,
    ) -> None:
        self.name = name
        self.include_regex: list[str] = []
        self.tensor_names = set(tensor_names or [])
        self.reduction_config = reduction_config
        self.save_config = save_config
        self.save_histogram = save_histogram
        self.include(include_regex or [])

    def include(self, t: Sequence[str] | str) -> None:
        """Add tensors whose names match."""
        self.include_regex += [t] if isinstance(t, str) else list(t)

    def add(self, arg: object) -> None:
        """Add a tensor by its name."""
        self.tensor_names.add(str(arg))

    def add_tensor_name(self, tname: str) -> None:
        """Add a tensor by its name."""
        self.tensor_names.add(tname)

    def add_module_tensors(self, module: object, inputs: bool = False, outputs: bool = True) -> None:
        """Add a module's inputs and outputs."""
        name = type(module).__name__
        self.include([f"^{name}_input_.+"] * inputs + [f"^{name}_output_.+"] * outputs)
