"""SageMaker's tuning documents: the ranges and the static hyperparameters in them, and what else they ask for.

A document is a ``ParameterRanges``, a mapping that holds one, a ``HyperParameterTuningJobConfig``, or a whole
CreateHyperParameterTuningJob request (field meanings: the SageMaker API reference). Its numbers and values are text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.hyperparameters import decoded, is_users
from vizsla.parameters import spelled

RANGES = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
_AUTO = "AutoParameters"
_CONFIG, _DEFINITION, _STATIC = "HyperParameterTuningJobConfig", "TrainingJobDefinition", "StaticHyperParameters"
_IN_DEFINITION = "HyperParameterRanges"
_DOCUMENTS = (*RANGES, _AUTO, "ParameterRanges", _CONFIG, _DEFINITION, f"{_DEFINITION}s")


@dataclass(frozen=True)
class TuningDocument:
    """What a document says, as plain values."""

    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Descriptions by name, as :func:`vizsla.tuning.space.parameter` reads them."""
    static: dict[str, Any] = field(default_factory=dict)
    auto: dict[str, str] = field(default_factory=dict)
    """Parameters whose ranges SageMaker would choose, with the hint that stands there."""
    options: tuple[str, ...] = ()
    """What else it asks for, as options of ``vizsla tune``."""


def is_tuning_document(content: Mapping[str, Any]) -> bool:
    """Whether a mapping is one of SageMaker's documents, also where a kind of ranges is misspelt."""
    return any(key in _DOCUMENTS or str(key).endswith("ParameterRanges") for key in content)


def tuning_document(content: Mapping[str, Any]) -> TuningDocument:
    """Read a document.

    Raises
    ------
    UsageError
        Naming the first entry that cannot be used.
    """
    config = _mapping(content, _CONFIG) or content
    definition = _definition(content)
    ranges: dict[str, dict[str, Any]] = {}
    auto: dict[str, str] = {}
    places = [(content, ""), (_mapping(content, "ParameterRanges"), "ParameterRanges")]
    if config is not content:
        places += [(_mapping(config, "ParameterRanges"), f"{_CONFIG}.ParameterRanges")]
    places += [(_mapping(definition, _IN_DEFINITION), f"{_DEFINITION}.{_IN_DEFINITION}")]
    for place, where in places:
        _check_kinds(place, where)
        for name, description in _ranges(place, where):
            if name in ranges:
                raise UsageError(f"Parameter {name!r} comes twice.", where=where or None, do="name it once")
            ranges[name] = description
        for entry, at in _entries(place, _AUTO, where):
            auto[_name(entry, at)] = str(entry.get("ValueHint", ""))
    strings = _mapping(content, _STATIC) | _mapping(definition, _STATIC)
    static = decoded({name: str(value) for name, value in strings.items() if is_users(name)})
    return TuningDocument(ranges, static, auto, tuple(_options(config, content)))


def _definition(content: Mapping[str, Any]) -> dict[str, Any]:
    several = content.get(f"{_DEFINITION}s") or []
    if not isinstance(several, list) or len(several) > 1:
        raise UsageError(
            f"The document defines {len(several)} training jobs that are searched together.",
            where=f"{_DEFINITION}s",
            allowed="one definition",
            do="search them one after another, each from a file of its own",
        )
    return _mapping({_DEFINITION: several[0]} if several else content, _DEFINITION)


def _check_kinds(place: Mapping[str, Any], where: str) -> None:
    """A kind of ranges that is misspelt must not be passed over: the rest would be searched without it."""
    allowed = (*RANGES, _AUTO)
    for key in place:
        if key not in allowed and (where or (key not in _DOCUMENTS and str(key).endswith("ParameterRanges"))):
            raise UsageError(f"There are no {key!r}.", where=where or None, allowed=", ".join(allowed))


def _ranges(place: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in RANGES:
        for entry, at in _entries(place, kind, where):
            name = _name(entry, at)
            at = f"{at} (parameter {name})"
            if kind == "CategoricalParameterRanges":
                values = entry.get("Values")
                if not isinstance(values, list):
                    raise UsageError("A categorical parameter needs values.", where=at, allowed='"Values": ["16"]')
                yield name, {"values": [_value(value) for value in values]}
                continue
            whole = kind.startswith("Integer")
            ends = {key: _end(entry, key, at, whole) for key in ("MinValue", "MaxValue")}
            scaling = {"scaling": entry.get("ScalingType") or "Auto"}
            yield name, ends | scaling | {"type": "integer" if whole else "continuous"}


def _entries(place: Mapping[str, Any], kind: str, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    entries = place.get(kind) or []
    for at, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        path = f"{where}.{kind}[{at}]".lstrip(".")
        if not isinstance(entry, dict):
            raise UsageError(f"{entry!r:.80} is no parameter.", where=path, allowed='{"Name": ..., ...}')
        yield entry, path


def _name(entry: Mapping[str, Any], at: str) -> str:
    name = entry.get("Name")
    if not isinstance(name, str) or not name:
        raise UsageError("The parameter has no name.", where=at, allowed='"Name": "lr"')
    return name


def _end(entry: Mapping[str, Any], key: str, at: str, whole: bool) -> int | float:
    end = entry.get(key)
    try:
        if isinstance(end, str | int | float) and not isinstance(end, bool):
            return int(end) if whole and isinstance(end, int | str) else float(end)
    except ValueError:
        pass
    noun = "a whole number" if whole else "a number"
    raise UsageError(f"{key} is not {noun}: {end!r:.80}.", where=at, allowed=f"{noun}, also as text")


def _value(text: Any) -> Any:
    """A value as SageMaker's toolkit reads it: JSON where it can be read so, as the SDK writes it for frameworks."""
    return decoded({"value": text})["value"] if isinstance(text, str) else text


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, dict):
        raise UsageError(f"{key} is not a mapping: {json.dumps(value, default=str):.80}.", where=key)
    return value


def _options(config: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    """What is said beside the ranges, as it would be given."""
    objective = _mapping(config, "HyperParameterTuningJobObjective")
    limits, criteria = _mapping(config, "ResourceLimits"), _mapping(config, "TuningJobCompletionCriteria")
    improvement = _mapping(criteria, "BestObjectiveNotImproving")
    seconds = None
    if limits.get("MaxRuntimeInSeconds") is not None:
        seconds = _end(limits, "MaxRuntimeInSeconds", f"{_CONFIG}.ResourceLimits", whole=False)
    options = {
        "strategy": str(config.get("Strategy") or "").lower() or None,
        "objective": objective.get("MetricName"),
        "trials": limits.get("MaxNumberOfTrainingJobs"),
        "max_parallel": limits.get("MaxParallelTrainingJobs"),
        "minutes": None if seconds is None else seconds / 60 if seconds % 60 else int(seconds // 60),
        "early_stopping": str(config.get("TrainingJobEarlyStoppingType") or "").lower() or None,
        "target": criteria.get("TargetObjectiveMetricValue"),
        "patience": improvement.get("MaxNumberOfTrainingJobsNotImproving"),
        "seed": config.get("RandomSeed"),
    }
    yield from (spelled(option, value) for option, value in options.items() if value is not None)
    if "Type" in objective:
        yield spelled("direction", str(objective["Type"]).lower())
    warm = _mapping(content, "WarmStartConfig")
    for parent, _ in _entries(warm, "ParentHyperParameterTuningJobs", "WarmStartConfig"):
        yield spelled("warm_start", (parent.get("HyperParameterTuningJobName"),))
