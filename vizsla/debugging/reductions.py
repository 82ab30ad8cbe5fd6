"""What is kept of a tensor: numbers, or the tensor itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vizsla.errors import UsageError

REDUCTIONS = ("min", "max", "mean", "std", "variance", "sum", "prod")
NORMS = ("l1", "l2")
ALLOWED = (*REDUCTIONS, *NORMS, *(f"abs_{name}" for name in (*REDUCTIONS, *NORMS)))


class ReductionConfig:
    """Names of reductions, and whether the tensor is kept too. Without any, the tensor is kept.

    Raises
    ------
    UsageError
        For a reduction that there is not.

    Examples
    --------
    >>> ReductionConfig.from_names("min,abs_mean,abs_l2_norm").abs_norms
    ['l2']
    """

    def __init__(
        self,
        reductions: Sequence[str] | None = None,
        abs_reductions: Sequence[str] | None = None,
        norms: Sequence[str] | None = None,
        abs_norms: Sequence[str] | None = None,
        save_raw_tensor: bool = False,
        save_shape: bool = False,
    ) -> None:
        self.reductions = list(reductions or [])
        self.abs_reductions = list(abs_reductions or [])
        self.norms = list(norms or [])
        self.abs_norms = list(abs_norms or [])
        self.save_raw_tensor = save_raw_tensor
        self.save_shape = save_shape
        for names, allowed in (
            (self.reductions + self.abs_reductions, REDUCTIONS),
            (self.norms + self.abs_norms, NORMS),
        ):
            for name in names:
                if name not in allowed:
                    raise UsageError(f"There is no reduction {name!r:.80}.", allowed=", ".join(allowed))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReductionConfig) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]

    @property
    def names(self) -> list[str]:
        """All as in :data:`ALLOWED`."""
        plain = [*self.reductions, *self.norms]
        return plain + [f"abs_{name}" for name in (*self.abs_reductions, *self.abs_norms)]

    @property
    def keeps_tensor(self) -> bool:
        """Whether the tensor itself is kept."""
        return self.save_raw_tensor or not (self.names or self.save_shape)

    @classmethod
    def from_names(cls, text: str, *, raw: bool = False, shape: bool = False) -> ReductionConfig:
        """From names as a document has them: ``"min,max,abs_variance,abs_l2_norm"``."""
        parts: dict[str, list[str]] = {"reductions": [], "abs_reductions": [], "norms": [], "abs_norms": []}
        for word in filter(None, (part.strip().lower() for part in text.split(","))):
            name = word.removeprefix("abs_").removesuffix("_norm")
            kind = "norms" if name in NORMS else "reductions"
            parts[f"abs_{kind}" if word.startswith("abs_") else kind].append(name)
        return cls(**parts, save_raw_tensor=raw, save_shape=shape)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> ReductionConfig | None:
        """From the parameters of a document; None where they say nothing of reductions."""
        if not {"reductions", "save_raw_tensor", "save_shape"} & set(parameters):
            return None
        flags = {
            name: str(parameters.get(f"save_{key}", "")).lower() == "true"
            for name, key in (("raw", "raw_tensor"), ("shape", "shape"))
        }
        return cls.from_names(str(parameters.get("reductions", "")), **flags)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return dict(vars(self))

    to_json_dict = to_dict

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReductionConfig:
        """From :meth:`to_dict`."""
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> ReductionConfig:
        """From :meth:`to_json`."""
        return cls(**json.loads(text))
