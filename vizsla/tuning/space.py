"""The search space: SageMaker's parameter ranges, in Python, from text and from files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from vizsla.errors import UsageError

Value: TypeAlias = str | int | float | bool
Scaling = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]

SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
_WIDE = 100
"""``Auto`` is logarithmic from this ratio of the ends on."""


@dataclass(frozen=True)
class ContinuousParameter:
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

    @property
    def scaling(self) -> Scaling:
        """The scaling, ``Auto`` decided."""
        return _decided(self)

    def contains(self, value: Value) -> bool:
        """Whether the parameter may take the value."""
        return isinstance(value, int | float) and self.min_value <= value <= self.max_value


@dataclass(frozen=True)
class IntegerParameter:
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

    @property
    def scaling(self) -> Scaling:
        """The scaling, ``Auto`` decided."""
        return _decided(self)

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
            raise UsageError("A value comes twice.", where=_words(self), do="name each value once")

    def contains(self, value: Value) -> bool:
        """Whether the parameter may take the value."""
        return any(type(v) is type(value) and v == value for v in self.values)


Parameter: TypeAlias = ContinuousParameter | IntegerParameter | CategoricalParameter


@dataclass(frozen=True)
class Space:
    """What is searched (``parameters``, in order) and what stays the same in every trial (``static``).

    Raises
    ------
    UsageError
        When there is nothing to search or a name is both.
    """

    parameters: dict[str, Parameter]
    static: dict[str, Value]

    def __post_init__(self) -> None:
        if not self.parameters:
            raise UsageError("There is nothing to search.", allowed="at least one range, such as lr=0.001..0.1:log")
        both = sorted(set(self.parameters) & set(self.static))
        if both:
            raise UsageError(f"Parameter {both[0]!r} is searched and static.", do="name it once")

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Space:
        """A space from parameters, lists of values, range texts, descriptions or static values, by name.

        See :func:`parameter`. A mapping in the form of SageMaker's ``ParameterRanges`` is read as such.

        Raises
        ------
        UsageError
            When one cannot be meant; the message names it.
        """
        if any(key in parameters for key in _SAGEMAKER):
            return _from_sagemaker(parameters)
        searched: dict[str, Parameter] = {}
        static: dict[str, Value] = {}
        for name, given in parameters.items():
            try:
                found = parameter(given)
            except UsageError as error:
                where = f"parameter {name}" + (f": {error.where}" if error.where else "")
                raise UsageError(error.what, where=where, allowed=error.allowed, do=error.do) from None
            if isinstance(found, ContinuousParameter | IntegerParameter | CategoricalParameter):
                searched[str(name)] = found
            else:
                static[str(name)] = found
        return cls(searched, static)

    def largest(self, name: str) -> int | None:
        """The largest whole number that ``name`` can have, searched or static; None where it has none."""
        given: Any = self.parameters.get(name, self.static.get(name))
        values = getattr(given, "values", None) or (getattr(given, "max_value", given),)
        return max((v for v in values if isinstance(v, int) and not isinstance(v, bool)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON in the field names of SageMaker's ``ParameterRanges`` and ``StaticHyperParameters``."""
        document: dict[str, Any] = {key: [] for key in _SAGEMAKER}
        for name, p in self.parameters.items():
            if isinstance(p, CategoricalParameter):
                document["CategoricalParameterRanges"].append({"Name": name, "Values": list(p.values)})
            else:
                kind = "IntegerParameterRanges" if isinstance(p, IntegerParameter) else "ContinuousParameterRanges"
                ends = {"MinValue": p.min_value, "MaxValue": p.max_value}
                document[kind].append({"Name": name} | ends | {"ScalingType": p.scaling_type})
        document["StaticHyperParameters"] = dict(self.static)
        document["Order"] = list(self.parameters)
        return document

    def words(self) -> dict[str, str]:
        """Each parameter as it would be typed."""
        return {name: _words(p) for name, p in self.parameters.items()} | {n: str(v) for n, v in self.static.items()}

    def contains(self, values: Mapping[str, Value]) -> bool:
        """Whether ``values`` name every searched parameter, within its range."""
        return all(name in values and p.contains(values[name]) for name, p in self.parameters.items())

    def grid_size(self) -> int | None:
        """The number of combinations; None where a continuous parameter makes them uncountable."""
        size = 1
        for p in self.parameters.values():
            if isinstance(p, ContinuousParameter):
                return None
            size *= len(p.values) if isinstance(p, CategoricalParameter) else p.max_value - p.min_value + 1
        return size


def parameter(given: Any) -> Parameter | Value:
    """One parameter from any of its forms.

    A parameter object; a list of values; a text as on the command line (see :func:`parse_text`); a mapping with
    ``values`` or with ``min``, ``max`` and optionally ``scaling`` and ``type`` (``continuous`` or ``integer``;
    two whole ends make an integer); any other text, number or truth value is static.

    Raises
    ------
    UsageError
        When it cannot be meant.
    """
    if isinstance(given, ContinuousParameter | IntegerParameter | CategoricalParameter):
        return given
    if isinstance(given, list | tuple):
        return CategoricalParameter(list(given))
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if isinstance(given, str):
        return parse_text(given)
    if isinstance(given, bool | int | float):
        return given
    raise UsageError(f"{given!r:.80} describes no parameter.", allowed=_FORMS)


def parse_text(text: str) -> Parameter | Value:
    """``0.001..0.1``, ``0.001..0.1:log``, ``0.5..0.99:reverse-log``, ``2..4`` (whole), ``16,32,64``; else static.

    Raises
    ------
    UsageError
        When a range has no two numbers or an unknown scaling.
    """
    if ".." in text:
        ends, _, scaling_text = text.partition(":")
        low, _, high = ends.partition("..")
        scaling = _scaling(scaling_text or "auto")
        try:
            return _range(_literal(low), _literal(high), scaling)
        except UsageError as error:
            raise UsageError(error.what, where=repr(text), allowed=error.allowed or _FORMS, do=error.do) from None
    if "," in text:
        values = [part.strip() for part in text.split(",")]
        if not all(values):
            raise UsageError("A value is missing.", where=repr(text), allowed="values between commas: 16,32,64")
        return CategoricalParameter([_literal(value) for value in values])
    return _literal(text)


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """``["lr=0.001..0.1:log batch-size=16,32", "epochs=5"]`` to texts by name.

    Raises
    ------
    UsageError
        When a part is not NAME=VALUE, or a name comes twice.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split()):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{part!r} is not NAME=RANGE.", where="--space", allowed=_FORMS)
        if name in found:
            raise UsageError(f"Parameter {name!r} comes twice.", where="--space", do="name it once")
        found[name] = value
    return found


_FORMS = "NAME=LOW..HIGH, NAME=LOW..HIGH:log (or :linear, :reverse-log), NAME=A,B,C or NAME=VALUE"
_SAGEMAKER = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
_SCALING_WORDS: dict[str, Scaling] = {
    "auto": "Auto",
    "linear": "Linear",
    "log": "Logarithmic",
    "logarithmic": "Logarithmic",
    "reverselog": "ReverseLogarithmic",
    "reverselogarithmic": "ReverseLogarithmic",
}


def _scaling(text: str) -> Scaling:
    try:
        return _SCALING_WORDS[text.strip().lower().replace("-", "").replace("_", "")]
    except KeyError:
        raise UsageError(
            f"There is no scaling {text!r}.", allowed="auto, linear, log or reverse-log (for values close to 1)"
        ) from None


def _literal(text: str) -> Value:
    """``true``, ``64``, ``0.1`` or the text itself."""
    text = text.strip()
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _range(low: Any, high: Any, scaling: Scaling) -> Parameter:
    if all(isinstance(end, int) for end in (low, high)) and scaling != "ReverseLogarithmic":
        return IntegerParameter(low, high, scaling)
    return ContinuousParameter(low, high, scaling)


def _from_mapping(given: Mapping[str, Any]) -> Parameter:
    keys = {str(key).lower(): value for key, value in given.items()}
    if "values" in keys:
        return CategoricalParameter(list(keys["values"]))
    low = keys.get("min", keys.get("min_value", keys.get("minvalue")))
    high = keys.get("max", keys.get("max_value", keys.get("maxvalue")))
    scaling = _scaling(str(keys.get("scaling", keys.get("scaling_type", keys.get("scalingtype", "auto")))))
    kind = str(keys.get("type", "")).lower()
    if low is None or high is None or kind not in ("", "continuous", "integer"):
        raise UsageError(
            f"{json.dumps(dict(given), default=str)} describes no parameter.",
            allowed="{values: [...]} or {min: LOW, max: HIGH, scaling: log, type: continuous or integer}",
        )
    if kind == "integer":
        return IntegerParameter(low, high, scaling)
    return ContinuousParameter(low, high, scaling) if kind else _range(low, high, scaling)


def _from_sagemaker(document: Mapping[str, Any]) -> Space:
    found: dict[str, Parameter] = {}
    kinds: dict[str, tuple[type[int] | type[float], type[IntegerParameter] | type[ContinuousParameter]]] = {
        "ContinuousParameterRanges": (float, ContinuousParameter),
        "IntegerParameterRanges": (int, IntegerParameter),
    }
    for key, (number, kind) in kinds.items():
        for entry in document.get(key) or []:
            # boto3's documents hold numbers as text.
            low, high = number(entry["MinValue"]), number(entry["MaxValue"])
            found[entry["Name"]] = kind(low, high, _scaling(entry.get("ScalingType", "Auto")))  # type: ignore[arg-type]
    # Our own documents keep each value's type; SageMaker's hold every value as text.
    value = _as_it_is if "Order" in document else parse_one
    for entry in document.get("CategoricalParameterRanges") or []:
        found[entry["Name"]] = CategoricalParameter([value(v) for v in entry["Values"]])
    order = document.get("Order") or list(found)
    return Space({name: found[name] for name in order}, dict(document.get("StaticHyperParameters") or {}))


def _as_it_is(value: Any) -> Value:
    kept: Value = value
    return kept


def parse_one(value: Any) -> Value:
    """A value that may be written as text, as SageMaker's documents do."""
    return _literal(value) if isinstance(value, str) else value


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


def _decided(p: ContinuousParameter | IntegerParameter) -> Scaling:
    if p.scaling_type != "Auto":
        return p.scaling_type
    return "Logarithmic" if p.min_value > 0 and p.max_value / p.min_value >= _WIDE else "Linear"


def _words(p: Parameter) -> str:
    if isinstance(p, CategoricalParameter):
        return ",".join(str(value) for value in p.values)
    ending = {"Auto": "", "Linear": ":linear", "Logarithmic": ":log", "ReverseLogarithmic": ":reverse-log"}
    return f"{p.min_value:g}..{p.max_value:g}{ending[p.scaling_type]}"
