"""A request to ``fit`` as a CreateTrainingJob document, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vizsla.errors import UsageError
from vizsla.jobs.request import BUILTIN
from vizsla.jobs.spec import AlgorithmSpecification, Channel, TrainingJobSpec, decoded, encoded
from vizsla.training.heads import HeadConfig
from vizsla.workflow.request import FitRequest

_DATA, _WEIGHTS = "training", "weights"


def to_spec(request: FitRequest) -> TrainingJobSpec:
    """The document: hyperparameters as strings, the data set and local weights as channels."""
    asked = {"backbone": request.backbone, "random_init": request.random_init, "minutes": request.minutes}
    values: dict[str, Any] = request.head.to_dict() | {k: v for k, v in asked.items() if v is not None}
    channels = [Channel.of_path(_DATA, request.data)]
    if request.weights is not None:
        channels.append(Channel.of_path(_WEIGHTS, request.weights))
    return TrainingJobSpec(
        training_job_name=request.name,
        algorithm_specification=AlgorithmSpecification(container_entrypoint=list(BUILTIN)),
        hyper_parameters=encoded(values),
        input_data_config=channels,
    )


def from_spec(spec: TrainingJobSpec) -> FitRequest:
    """The request in a document.

    Raises
    ------
    UsageError
        When a hyperparameter is unknown or out of range, or the data are not on this machine.
    """
    values = decoded(dict(spec.hyper_parameters))
    paths = {channel.channel_name: channel.path for channel in spec.input_data_config}
    data = paths.get(_DATA) or paths.get("train")
    if data is None:
        raise UsageError(
            "The job names no data set on this machine.",
            where="InputDataConfig",
            allowed=f"a channel {_DATA!r} with a file:// address",
        )
    request = FitRequest(
        data=data,
        backbone=values.pop("backbone", None),
        weights=paths.get(_WEIGHTS),
        random_init=bool(values.pop("random_init", False)),
        minutes=values.pop("minutes", None),
        name=spec.training_job_name,
    )
    head = {name.replace("-", "_"): value for name, value in values.items()}
    unknown = sorted(set(head) - set(HeadConfig.names()))
    if unknown:
        allowed = ", ".join([*HeadConfig.names(), "backbone", "random_init", "minutes"])
        raise UsageError(
            f"There is no hyperparameter {unknown[0]!r}.", where=f"HyperParameters.{unknown[0]}", allowed=allowed
        )
    return replace(request, head=HeadConfig(**head))
