"""What an endpoint is: its variants, what is captured, how a change takes over. SageMaker's CreateEndpointConfig."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from vizsla.document import Document
from vizsla.errors import UsageError
from vizsla.serving.traffic import Policy

NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"
ALL_TRAFFIC = "AllTraffic"


class Variant(Document):
    """One variant. ``ModelName`` is a model's path or ``models:/group@alias``; with ``MultiModel`` a folder, or an
    ``s3://`` prefix, of models that TargetModel names."""

    variant_name: str = Field(default=ALL_TRAFFIC, pattern=NAME)
    model_name: str = Field(min_length=1)
    initial_variant_weight: float = Field(default=1.0, ge=0)
    mode: Literal["SingleModel", "MultiModel"] = "SingleModel"


class DataCapture(Document):
    """See :class:`vizsla.serving.capture.CaptureOptions`."""

    enable_capture: bool = True
    initial_sampling_percentage: float = Field(default=100, ge=0, le=100)
    destination_s3_uri: str | None = None
    capture_options: list[dict[str, Literal["Input", "Output"]]] = Field(
        default=[{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
    )
    max_megabytes: float = Field(default=1000, gt=0)

    @classmethod
    def of(cls, percent: float | None, megabytes: float) -> DataCapture | None:
        """A share of the requests, within so much of the disk; None where no share is named."""
        return None if percent is None else cls(initial_sampling_percentage=percent, max_megabytes=megabytes)


class Routing(Document):
    """How new variants take over, and when they are taken back: see :class:`vizsla.serving.traffic.Policy`."""

    type: Literal["ALL_AT_ONCE", "CANARY", "LINEAR"] = "ALL_AT_ONCE"
    step_percent: float = Field(default=10, gt=0, le=100)
    wait_interval_in_seconds: float = Field(default=60, ge=0)
    max_error_rate: float = Field(default=0.05, ge=0, le=1)
    max_latency_milliseconds: float | None = Field(default=None, gt=0)
    minimum_requests: int = Field(default=20, ge=1)

    def policy(self) -> Policy:
        """The same, as numbers for the server."""
        return Policy(
            step=1.0 if self.type == "ALL_AT_ONCE" else self.step_percent / 100,
            wait=self.wait_interval_in_seconds,
            linear=self.type == "LINEAR",
            max_error_rate=self.max_error_rate,
            max_latency=None if self.max_latency_milliseconds is None else self.max_latency_milliseconds / 1000,
            least_requests=self.minimum_requests,
        )


class EndpointConfig(Document):
    """An endpoint. ``Generation`` counts its changes; while one takes over, ``Previous`` are the variants before it."""

    endpoint_name: str = Field(pattern=NAME)
    production_variants: list[Variant] = Field(min_length=1, max_length=10)
    data_capture_config: DataCapture | None = None
    port: int = Field(ge=1, le=65535)
    host: str = "127.0.0.1"
    allow_code: bool = False
    memory_mb: int = Field(default=4000, ge=1)
    environment: dict[str, str] | None = None
    generation: int = 1
    previous: list[Variant] | None = None
    routing: Routing | None = None

    @model_validator(mode="after")
    def _fits(self) -> EndpointConfig:
        names = [variant.variant_name for variant in self.production_variants]
        if len(set(names)) < len(names):
            raise ValueError(f"two variants have the name {max(names, key=names.count)!r}")
        several = [variant for variant in self.production_variants if variant.mode == "MultiModel"]
        if several and len(names) > 1:
            raise ValueError("a variant of many models is the only one of its endpoint")
        if sum(variant.initial_variant_weight for variant in self.production_variants) <= 0:
            raise ValueError("no variant has a weight, so that none would get a request")
        return self

    @classmethod
    def read(cls, document: dict[str, Any]) -> EndpointConfig:
        """The endpoint in ``document``.

        Raises
        ------
        UsageError
            Naming the first field that cannot be used.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "ProductionVariants"
            given = first.get("input")
            shown = "" if isinstance(given, dict) else f" (given: {given!r:.80})"
            raise UsageError(f"The endpoint cannot be so: {first['msg']}{shown}.", where=where) from error

    @property
    def is_multi_model(self) -> bool:
        """Whether requests name their model."""
        return self.production_variants[0].mode == "MultiModel"
