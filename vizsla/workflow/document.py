"""A request to ``fit`` as a CreateTrainingJob document, and back."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from vizsla.data import SourceOptions
from vizsla.data.gate import GateOptions
from vizsla.errors import UsageError
from vizsla.jobs.hyperparameters import decoded, encoded
from vizsla.jobs.spec import BUILTIN, AlgorithmSpecification, Channel, DataSource, S3DataSource, TrainingJobSpec
from vizsla.training.fine_tuning.config import HYPERPARAMETERS, training_config
from vizsla.tuning.presets import find_preset
from vizsla.tuning.request import SearchRequest
from vizsla.workflow.request import FitRequest

_DATA, _WEIGHTS = "training", "weights"
_OPTIONS = ("backbone", "random_init", "size", "minutes", "preset")

_DEFAULTS: dict[str, Any] = asdict(SourceOptions()) | asdict(GateOptions())
"""The hyperparameters that say how the data are read, and what they are when the document is silent."""
_SOURCE = [field.name for field in fields(SourceOptions) if field.name != "drop_classes"]


def _channel(data: Path | str) -> Channel:
    if "://" not in str(data):
        return Channel.of_path(_DATA, Path(data))
    source = S3DataSource(s3_uri=str(data), s3_data_distribution_type="FullyReplicated")
    return Channel(channel_name=_DATA, data_source=DataSource(s3_data_source=source))


def to_spec(request: FitRequest) -> TrainingJobSpec:
    """The document: hyperparameters as strings, the data set and local weights as channels."""
    options: dict[str, Any] = {name: getattr(request, name) for name in _OPTIONS}
    options["executor"] = None if request.executor == "local" else request.executor
    data = asdict(request.source) | asdict(request.gate)
    options |= {name: value for name, value in data.items() if value != _DEFAULTS[name]}
    values: dict[str, Any] = request.head.to_dict() | {k: v for k, v in options.items() if v is not None}
    channels = [_channel(request.data)]
    if request.weights is not None:
        channels.append(Channel.of_path(_WEIGHTS, request.weights))
    return TrainingJobSpec(
        training_job_name=request.name,
        algorithm_specification=AlgorithmSpecification(container_entrypoint=list(BUILTIN)),
        hyper_parameters=encoded(values),
        input_data_config=channels,
    )


def to_job(request: FitRequest) -> dict[str, Any]:
    """The document of the job: of a training, or of a search where one was asked for."""
    return to_spec(request).to_dict() if request.tune is None else tuning_document(request.tune, to_spec(request))


def tuning_document(search: SearchRequest, spec: TrainingJobSpec) -> dict[str, Any]:
    """The document of a search whose trials are ``spec`` with other hyperparameters each time."""
    return {"HyperParameterTuningJobConfig": search.to_dict(), "TrainingJobDefinition": spec.to_dict()}


def from_job(document: dict[str, Any]) -> FitRequest:
    """The request in a job's document.

    Raises
    ------
    UsageError
        As :func:`from_spec`.
    """
    request = from_spec(TrainingJobSpec.read(document.get("TrainingJobDefinition", document)))
    search = document.get("HyperParameterTuningJobConfig")
    return request if search is None else replace(request, tune=SearchRequest.from_dict(search))


def from_spec(spec: TrainingJobSpec) -> FitRequest:
    """The request in a document.

    Raises
    ------
    UsageError
        When a hyperparameter is unknown or out of range, or the data are not on this machine.
    """
    values = decoded(dict(spec.hyper_parameters))
    paths = {channel.channel_name: channel.path for channel in spec.input_data_config}
    elsewhere = {channel.channel_name: channel.uri for channel in spec.input_data_config}
    data = paths.get(_DATA) or paths.get("train") or elsewhere.get(_DATA) or elsewhere.get("train")
    if data is None:
        raise UsageError(
            "The job names no data set.",
            where="InputDataConfig",
            allowed=f"a channel {_DATA!r} with a file://, s3:// or http(s):// address",
        )
    values = {name.replace("-", "_"): value for name, value in values.items()}
    texts = {name.replace("-", "_"): text for name, text in spec.hyper_parameters.items()}
    options = {name: values.pop(name, default) for name, default in _DEFAULTS.items()}
    dropped = options["drop_classes"]
    request = FitRequest(
        data=data,
        backbone=values.pop("backbone", None),
        weights=paths.get(_WEIGHTS),
        random_init=bool(values.pop("random_init", False)),
        size=values.pop("size", None),
        preset=values.pop("preset", None),
        minutes=values.pop("minutes", None),
        executor=values.pop("executor", "local"),
        name=spec.training_job_name,
        source=SourceOptions(
            [str(name) for name in (dropped if isinstance(dropped, (list, tuple)) else [dropped])],
            **{name: _as_text(options[name], texts.get(name)) for name in _SOURCE},
        ),
        gate=GateOptions(options["on_damaged"], options["on_leak"], options["near_copies"]),
    )
    unknown = sorted(set(values) - set(HYPERPARAMETERS))
    if unknown:
        allowed = ", ".join([*HYPERPARAMETERS, *_OPTIONS, *_DEFAULTS])
        allowed += "; and weights, a path (in a document, a channel)"
        raise UsageError(
            f"There is no hyperparameter {unknown[0]!r}.", where=f"HyperParameters.{unknown[0]}", allowed=allowed
        )
    if request.preset is not None:
        values = find_preset(request.preset).values | values
    return replace(request, head=training_config(values, request.minutes))


def _as_text(value: object, text: str | None) -> str | None:
    """An option that is text: a column may be called ``1`` or ``true``."""
    return value if value is None or isinstance(value, str) else text
