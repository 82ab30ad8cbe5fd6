"""The search space: SageMaker's parameter ranges, in Python, from text and from files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.hyperparameters import is_number
from vizsla.tuning.parameter_ranges import RANGES, TuningDocument, is_tuning_document, tuning_document
from vizsla.tuning.parameters import CategoricalParameter as CategoricalParameter
from vizsla.tuning.parameters import ContinuousParameter as ContinuousParameter
from vizsla.tuning.parameters import IntegerParameter as IntegerParameter
from vizsla.tuning.parameters import Parameter as Parameter
from vizsla.tuning.parameters import Scaling, words_of
from vizsla.tuning.parameters import Value as Value


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

        See :func:`parameter`. A mapping in the form of one of SageMaker's documents is read as such
        (:mod:`vizsla.tuning.parameter_ranges`).

        Raises
        ------
        UsageError
            When one cannot be meant; the message names it.
        """
        if is_tuning_document(parameters):
            return _written(parameters) if "Order" in parameters else space_of(tuning_document(parameters))
        return cls(
            *searched_and_static({str(name): named(str(name), description) for name, description in parameters.items()})
        )

    def with_static(self, values: Mapping[str, Value]) -> Space:
        """The space with further values that stay the same.

        Raises
        ------
        UsageError
            When one of them is in the space already.
        """
        if both := sorted(set(values) & (set(self.static) | set(self.parameters))):
            raise UsageError(f"Parameter {both[0]!r} comes twice.", where="hyperparameters", do="name it once")
        return Space(self.parameters, dict(values) | self.static)

    def largest(self, name: str) -> int | None:
        """The largest whole number that ``name`` can have, searched or static; None where it has none."""
        value: Any = self.parameters.get(name, self.static.get(name))
        values = getattr(value, "values", None) or (getattr(value, "max_value", value),)
        return max((v for v in values if isinstance(v, int) and not isinstance(v, bool)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON in the field names of SageMaker's ``ParameterRanges`` and ``StaticHyperParameters``."""
        document: dict[str, Any] = {key: [] for key in RANGES}
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
        return {name: words_of(p) for name, p in self.parameters.items()} | {n: str(v) for n, v in self.static.items()}

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


def searched_and_static(values: Mapping[str, Parameter | Value]) -> tuple[dict[str, Parameter], dict[str, Value]]:
    """The parameters to search, and the values that stay the same."""
    searched = {name: value for name, value in values.items() if isinstance(value, Parameter)}
    return searched, {name: value for name, value in values.items() if not isinstance(value, Parameter)}


def space_of(document: TuningDocument) -> Space:
    """The space of one of SageMaker's documents.

    Raises
    ------
    UsageError
        When a range cannot be meant, or is left to SageMaker.
    """
    searched = {name: _parameter(name, description) for name, description in document.ranges.items()}
    for name in document.auto:
        if name not in searched and name not in document.static:
            raise no_range(name, document.auto[name])
    return Space(searched, dict(document.static))


def no_range(name: str, hint: str) -> UsageError:
    """Words for a parameter whose range SageMaker would have chosen."""
    return UsageError(
        f"SageMaker would choose the range of {name!r} by itself; here nobody does.",
        where=f"AutoParameters, parameter {name}" + (f", with the hint {hint}" if hint else ""),
        allowed=_FORMS,
        do=f"give it a range or a value beside the document: {name}=LOW..HIGH",
    )


def named(name: str, description: Any) -> Parameter | Value:
    """:func:`parameter`, whose errors name it."""
    try:
        return parameter(description)
    except UsageError as error:
        error.where = f"parameter {name}" + (f": {error.where}" if error.where else "")
        raise


def _parameter(name: str, description: Mapping[str, Any]) -> Parameter:
    value = named(name, description)
    assert isinstance(value, Parameter)
    return value


def parameter(description: Any) -> Parameter | Value:
    """One parameter from any of its forms.

    A parameter object; a list of values; a text as on the command line (see :func:`parse_text`); a mapping with
    ``values`` or with ``min``, ``max`` and optionally ``scaling`` and ``type`` (``continuous`` or ``integer``;
    two whole ends make an integer); any other text, number or truth value is static.

    Raises
    ------
    UsageError
        When it cannot be meant.
    """
    if isinstance(description, Parameter):
        return description
    if isinstance(description, list | tuple):
        return CategoricalParameter(list(description))
    if isinstance(description, Mapping):
        return _from_mapping(description)
    if isinstance(description, str):
        return parse_text(description)
    if isinstance(description, bool | int | float):
        return description
    raise UsageError(f"{description!r:.80} describes no parameter.", allowed=_FORMS)


def parse_text(text: str) -> Parameter | Value:
    """``0.001..0.1``, ``0.001..0.1:log``, ``0.5..0.99:reverse-log``, ``2..4`` (whole), ``16,32,64``; else static.

    What has a slash is no range: ``../weights.pt`` is a text.

    Raises
    ------
    UsageError
        When a range has no two numbers or an unknown scaling.
    """
    if ".." in text and "/" not in text:
        ends, _, scaling_text = text.partition(":")
        low, _, high = ends.partition("..")
        scaling = _scaling(scaling_text or "auto")
        try:
            return _range(own_value(low), own_value(high), scaling)
        except UsageError as error:
            error.where, error.allowed = repr(text), error.allowed or _FORMS
            raise
    if "," in text:
        values = [part.strip() for part in text.split(",")]
        if not all(values):
            raise UsageError("A value is missing.", where=repr(text), allowed="values between commas: 16,32,64")
        return CategoricalParameter([typed_value(value) for value in values])
    return typed_value(text)


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """``["lr=0.001..0.1:log batch-size=16,32", "epochs=5"]`` to texts by name.

    A space parts two only where a name and ``=`` follow it: ``note=two words`` is one.

    Raises
    ------
    UsageError
        When a part is not NAME=VALUE, or a name comes twice.
    """
    texts_by_name: dict[str, str] = {}
    for part in (part for text in texts for part in _NEXT_ASSIGNMENT.split(text.strip())):
        name, equals, value = part.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{part!r} is not NAME=RANGE.", parameter="space", allowed=_FORMS)
        if name in texts_by_name:
            raise UsageError(f"Parameter {name!r} comes twice.", parameter="space", do="name it once")
        texts_by_name[name] = value
    return texts_by_name


_NEXT_ASSIGNMENT = re.compile(r"\s+(?=[^\s=,]+=)")
_FORMS = "NAME=LOW..HIGH, NAME=LOW..HIGH:log (or :linear, :reverse-log), NAME=A,B,C or NAME=VALUE"
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


def typed_value(text: str) -> Value:
    """A number where it is written as Python writes it, so that nothing is lost; any other text is text.

    >>> typed_value("64"), typed_value("0.1"), typed_value("007"), typed_value("1e-3"), typed_value("true")
    (64, 0.1, '007', '1e-3', 'true')
    """
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and is_number(value):
            return value
    return text


def own_value(value: Any) -> Any:
    """What our own training is told by a text: ``true`` is true and ``1e-3`` a number; what is no text stays."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def own_space(space: Space) -> Space:
    """A space as our own training is told it: texts to choose from as :func:`own_value` reads them."""
    searched = {
        name: CategoricalParameter([own_value(value) for value in p.values])
        if isinstance(p, CategoricalParameter)
        else p
        for name, p in space.parameters.items()
    }
    return Space(searched, {name: own_value(value) for name, value in space.static.items()})


def _range(low: Any, high: Any, scaling: Scaling) -> Parameter:
    if all(isinstance(end, int) for end in (low, high)) and scaling != "ReverseLogarithmic":
        return IntegerParameter(low, high, scaling)
    return ContinuousParameter(low, high, scaling)


def _from_mapping(description: Mapping[str, Any]) -> Parameter:
    keys = {str(key).lower(): value for key, value in description.items()}
    if "values" in keys:
        return CategoricalParameter(list(keys["values"]))
    low = keys.get("min", keys.get("min_value", keys.get("minvalue")))
    high = keys.get("max", keys.get("max_value", keys.get("maxvalue")))
    scaling = _scaling(str(keys.get("scaling", keys.get("scaling_type", keys.get("scalingtype", "auto")))))
    kind = str(keys.get("type", "")).lower()
    if low is None or high is None or kind not in ("", "continuous", "integer"):
        raise UsageError(
            f"{json.dumps(dict(description), default=str)} describes no parameter.",
            allowed="{values: [...]} or {min: LOW, max: HIGH, scaling: log, type: continuous or integer}",
        )
    if kind == "integer":
        return IntegerParameter(low, high, scaling)
    return ContinuousParameter(low, high, scaling) if kind else _range(low, high, scaling)


def _written(document: Mapping[str, Any]) -> Space:
    """What :meth:`Space.to_dict` has written: each value is of the type that it was."""
    parameters: dict[str, Parameter] = {}
    for key, kind in (("ContinuousParameterRanges", ContinuousParameter), ("IntegerParameterRanges", IntegerParameter)):
        for entry in document[key]:
            parameters[entry["Name"]] = kind(entry["MinValue"], entry["MaxValue"], entry["ScalingType"])
    for entry in document["CategoricalParameterRanges"]:
        parameters[entry["Name"]] = CategoricalParameter(entry["Values"])
    return Space({name: parameters[name] for name in document["Order"]}, dict(document["StaticHyperParameters"]))
