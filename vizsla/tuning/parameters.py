"""What one hyperparameter may be in a search: SageMaker's three kinds of parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from vizsla.errors import UsageError

Value: TypeAlias = str | int | float | bool
Scaling = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]

SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
_WIDE = 100
"""``Auto`` is logarithmic from this ratio of the ends on."""


class _Range:
    min_value: float
    max_value: float
    scaling_type: Scaling

    @property
    def scaling(self) -> Scaling:
        """The scaling, ``Auto`` decided."""
        if self.scaling_type != "Auto":
            return self.scaling_type
        return "Logarithmic" if self.min_value > 0 and self.max_value / self.min_value >= _WIDE else "Linear"


@dataclass(frozen=True)
class ContinuousParameter(_Range):
    """A number between ``min_value`` and ``max_value``, both included.

    ``scaling_type`` says in which scale values are equally likely: ``Linear``; ``Logarithmic`` (ends above 0);
    ``ReverseLogarithmic``, logarithmic in 1 - value, for values close to 1 such as momentum (ends in [0, 1));
    ``Auto``, logarithmic where the ends are above 0 and at least a factor of 100 apart, else linear.

    Raises
    ------
    UsageError
        When the range is empty or the scaling cannot hold for it.
    """

    min_value: float
    max_value: float
    scaling_type: Scaling = "Auto"

    def __post_init__(self) -> None:
        _check_range(self, int | float, "a number")
        # 1 and 1.0 are the same end: written down and read again, the space must be the same.
        object.__setattr__(self, "min_value", float(self.min_value))
        object.__setattr__(self, "max_value", float(self.max_value))

    def contains(self, value: Value) -> bool:
        """Whether the parameter may take the value."""
        return isinstance(value, int | float) and self.min_value <= value <= self.max_value


@dataclass(frozen=True)
class IntegerParameter(_Range):
    """A whole number between ``min_value`` and ``max_value``, both included; scalings as for
    :class:`ContinuousParameter`, without ``ReverseLogarithmic``.

    Raises
    ------
    UsageError
        When the range is empty or the scaling cannot hold for it.
    """

    min_value: int
    max_value: int
    scaling_type: Scaling = "Auto"

    def __post_init__(self) -> None:
        if self.scaling_type == "ReverseLogarithmic":
            raise UsageError(
                "A whole number cannot be scaled ReverseLogarithmic.",
                where=f"{self.min_value}..{self.max_value}",
                allowed="Auto, Linear or Logarithmic",
            )
        _check_range(self, int, "a whole number")

    def contains(self, value: Value) -> bool:
        """Whether the parameter may take the value."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole and self.min_value <= value <= self.max_value  # type: ignore[operator]


@dataclass(frozen=True, init=False)
class CategoricalParameter:
    """One of some values.

    Raises
    ------
    UsageError
        When there is no value, or one comes twice.
    """

    values: tuple[Value, ...]

    def __init__(self, values: list[Value] | tuple[Value, ...]) -> None:
        object.__setattr__(self, "values", tuple(values))
        if not self.values:
            raise UsageError("A categorical parameter needs values.", allowed="a list such as [16, 32, 64]")
        for value in self.values:
            if not isinstance(value, str | int | float):
                raise UsageError(
                    f"{value!r} cannot be a value of a parameter.", allowed="text, a number, true or false"
                )
        if len({repr(value) for value in self.values}) < len(self.values):
            raise UsageError("A value comes twice.", where=words_of(self), do="name each value once")

    def contains(self, value: Value) -> bool:
        """Whether the parameter may take the value."""
        return any(type(v) is type(value) and v == value for v in self.values)


Parameter: TypeAlias = ContinuousParameter | IntegerParameter | CategoricalParameter


def _check_range(p: ContinuousParameter | IntegerParameter, kind: Any, noun: str) -> None:
    for end in (p.min_value, p.max_value):
        if not isinstance(end, kind) or isinstance(end, bool) or not math.isfinite(end):
            raise UsageError(f"{end!r} is not {noun}.", allowed="two numbers, such as 0.001..0.1")
    if p.scaling_type not in SCALINGS:
        raise UsageError(f"There is no scaling {p.scaling_type!r}.", allowed=", ".join(SCALINGS))
    if not p.min_value < p.max_value:
        raise UsageError(
            f"The range {p.min_value}..{p.max_value} is empty.",
            allowed="a lower end below the upper one",
            do="swap the ends, or give one value to keep the parameter as it is",
        )
    if p.scaling_type == "Logarithmic" and p.min_value <= 0:
        raise UsageError(
            f"The range {p.min_value}..{p.max_value} cannot be logarithmic: it reaches {p.min_value}.",
            allowed="a lower end above 0",
            do="raise the lower end (such as 1e-6), or use :linear",
        )
    if p.scaling_type == "ReverseLogarithmic" and not 0 <= p.min_value < p.max_value < 1:
        raise UsageError(
            f"The range {p.min_value}..{p.max_value} cannot be reverse-logarithmic.",
            allowed="0 <= lower end, upper end < 1 (such as 0.5..0.99)",
        )


def words_of(p: Parameter) -> str:
    if isinstance(p, CategoricalParameter):
        return ",".join(str(value) for value in p.values)
    ending = {"Auto": "", "Linear": ":linear", "Logarithmic": ":log", "ReverseLogarithmic": ":reverse-log"}
    return f"{p.min_value:g}..{p.max_value:g}{ending[p.scaling_type]}"
