"""Named groups of tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vizsla.debugging.reductions import ReductionConfig
from vizsla.debugging.save_config import SaveConfig
from vizsla.errors import UsageError


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
    RELU_INPUT = "relu_input"
    RELU_OUTPUT = "relu_output"
    ACTIVATIONS = "activations"
    INPUT_IMAGE = "input_image"


RELUS = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "CELU", "Threshold")
SATURATING = ("Tanh", "Sigmoid", "Hardtanh", "Softsign")
ACTIVATIONS = (*RELUS, *SATURATING, "GELU", "SiLU", "Mish", "Hardswish", "Hardsigmoid", "Softplus", "LogSigmoid")


class Collection:
    """A group of tensors, chosen by regular expressions over their names, by name, or by the type of the module whose
    inputs or outputs they are."""

    def __init__(
        self,
        name: str,
        include_regex: Sequence[str] | str | None = None,
        tensor_names: Sequence[str] | None = None,
        reduction_config: ReductionConfig | None = None,
        save_config: SaveConfig | Mapping[str, Any] | None = None,
        save_histogram: bool = True,
    ) -> None:
        self.name = name
        self.include_regex: list[str] = []
        self.tensor_names = set(tensor_names or [])
        self.module_types: dict[str, tuple[bool, bool]] = {}
        """Type to whether its inputs, its outputs belong here."""
        self.reduction_config = reduction_config
        self.save_config = SaveConfig.from_dict(save_config) if isinstance(save_config, Mapping) else save_config
        self.save_histogram = save_histogram
        self._patterns: list[re.Pattern[str]] = []
        self.include(include_regex or [])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Collection) and other.to_dict() == self.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.include_regex!r}, {sorted(self.tensor_names)!r})"

    def include(self, t: Sequence[str] | str) -> None:
        """Add tensors whose names match from their beginning.

        Raises
        ------
        UsageError
            For what is no regular expression.
        """
        for regex in [t] if isinstance(t, str) else list(t):
            try:
                self._patterns.append(re.compile(regex))
            except re.error as error:
                raise UsageError(
                    f"{regex!r:.100} is no regular expression: {error}.", where=f"collection {self.name}"
                ) from error
            self.include_regex.append(regex)

    def include_type(self, *types: str, inputs: bool = False, outputs: bool = True) -> None:
        """Add the inputs or outputs of all modules of these types, such as ``"Conv2d"``."""
        self.module_types |= dict.fromkeys(types, (inputs, outputs))

    def add(self, arg: object) -> None:
        """Add a tensor by its name, or several."""
        for name in arg if isinstance(arg, list | tuple | set) else [arg]:
            self.tensor_names.add(str(name))

    def add_tensor_name(self, tname: str) -> None:
        """Add a tensor by its name."""
        self.tensor_names.add(tname)

    def add_module_tensors(self, module: Any, inputs: bool = False, outputs: bool = True) -> None:
        """Add a module's inputs and outputs; by its name in the registered model, where it is part of one."""
        name = module_names.get(id(module)) or type(module).__name__
        name = re.escape(name)
        self.include([f"^{name}_input_.+"] * inputs + [f"^{name}_output_.+"] * outputs)

    def holds(self, tensor: str, module_type: str | None = None, *, is_input: bool = False) -> bool:
        """Whether a tensor belongs here; of a module's input or output its type is given."""
        if tensor in self.tensor_names or any(pattern.match(tensor) for pattern in self._patterns):
            return True
        if module_type is None or module_type not in self.module_types:
            return False
        inputs, outputs = self.module_types[module_type]
        return inputs if is_input else outputs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "include_regex": self.include_regex,
            "tensor_names": sorted(self.tensor_names),
            "module_types": {name: list(where) for name, where in self.module_types.items()},
            "reduction_config": self.reduction_config and self.reduction_config.to_dict(),
            "save_config": self.save_config and self.save_config.to_dict(),
            "save_histogram": self.save_histogram,
        }

    to_json_dict = to_dict

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Collection:
        """From :meth:`to_dict`."""
        reductions, steps = values.get("reduction_config"), values.get("save_config")
        result = cls(
            values["name"],
            values.get("include_regex"),
            values.get("tensor_names"),
            ReductionConfig.from_dict(reductions) if reductions else None,
            SaveConfig.from_dict(steps) if steps else None,
            values.get("save_histogram", True),
        )
        result.module_types = {name: (where[0], where[1]) for name, where in values.get("module_types", {}).items()}
        return result

    @classmethod
    def from_json(cls, text: str) -> Collection:
        """From :meth:`to_json`."""
        return cls.from_dict(json.loads(text))


module_names: dict[int, str] = {}
"""The names of the registered model's modules by id."""


class CollectionManager:
    """The collections of a hook, those that are always there among them."""

    def __init__(self) -> None:
        self.collections: dict[str, Collection] = {}
        regexes = {
            CollectionKeys.WEIGHTS: r"^(?!gradient|update).*weight",
            CollectionKeys.BIASES: r"^(?!gradient|update).*bias",
            CollectionKeys.GRADIENTS: r"^gradient",
            CollectionKeys.LOSSES: r".*[Ll]oss_(?!input).*output",
            CollectionKeys.ALL: r".*",
            CollectionKeys.INPUTS: r".*_input_\d+$",
            CollectionKeys.OUTPUTS: r".*_output_\d+$",
        }
        keys = [value for name, value in vars(CollectionKeys).items() if name.isupper()]
        for name in keys:
            self.add(Collection(name, regexes.get(name)))
        self.get(CollectionKeys.RELU_INPUT).include_type(*RELUS, inputs=True, outputs=False)
        self.get(CollectionKeys.RELU_OUTPUT).include_type(*RELUS)
        self.get(CollectionKeys.ACTIVATIONS).include_type(*ACTIVATIONS)

    def __iter__(self) -> Iterator[Collection]:
        return iter(self.collections.values())

    def __contains__(self, name: object) -> bool:
        return name in self.collections

    def get(self, name: str, create: bool = True) -> Collection:
        """The collection of this name; made when there is none.

        Raises
        ------
        KeyError
            When there is none and ``create`` is False.
        """
        if name not in self.collections:
            if not create:
                raise KeyError(f"There is no collection {name!r}")
            self.collections[name] = Collection(name)
        return self.collections[name]

    def add(self, arg: Collection | str) -> None:
        """Add a collection, or an empty one of this name."""
        collection = Collection(arg) if isinstance(arg, str) else arg
        self.collections[collection.name] = collection

    def get_collections(self) -> dict[str, Collection]:
        """All by name."""
        return dict(self.collections)
