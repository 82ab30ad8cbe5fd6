"""``analysis_config.json``, as SageMaker Clarify reads it.

Source: the SageMaker developer guide, "Configure the Analysis"; ``ANALYSIS_CONFIG_SCHEMA_V1_0`` of the Python SDK.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vizsla.errors import UsageError
from vizsla.evaluation.bias.posttraining import FLIPTEST, POSTTRAINING
from vizsla.evaluation.bias.pretraining import PRETRAINING

Name = str | int
Value = str | int | float | bool

_ELSEWHERE = ("shap", "pdp")
"""Methods of Clarify that are accepted and not run on a table."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Facet(_Section):
    """A column, and which of its values make the group; without any each value is looked at in turn."""

    name_or_index: Name
    value_or_threshold: list[Value] | Value | None = None


class Metrics(_Section):
    """Which metrics: all, or a list of names."""

    methods: Literal["all"] | list[str] = "all"


class Methods(_Section):
    """What is computed."""

    pre_training_bias: Metrics | None = None
    post_training_bias: Metrics | None = None
    report: dict[str, Any] | None = None
    shap: dict[str, Any] | None = None
    pdp: dict[str, Any] | None = None


class AnalysisConfig(_Section):
    """The whole file. Paths may be ``file://`` addresses; ``dataset_uri`` is used where no table is named.

    ``predictor`` says how a model is asked where the table has no column of predictions; whoever calls says which.
    """

    version: str | None = None
    dataset_type: str | None = None
    dataset_uri: str | None = None
    headers: list[str] | None = None
    label: Name
    predicted_label: Name | None = None
    features: str | None = None
    label_values_or_threshold: list[Value] | Value | None = None
    probability_threshold: float = Field(default=0.5, ge=0, le=1)
    facet: list[Facet] = Field(min_length=1)
    facet_dataset_uri: str | None = None
    facet_headers: list[str] | None = None
    predicted_label_dataset_uri: str | None = None
    predicted_label_headers: list[str] | None = None
    excluded_columns: list[Name] | None = None
    joinsource_name_or_index: Name | None = None
    group_variable: Name | None = None
    segment_config: Any = None
    methods: Methods = Methods()
    predictor: dict[str, Any] | None = None

    @property
    def pretraining(self) -> tuple[str, ...]:
        """The names of the pre-training metrics that are asked for; all where no method is named."""
        section = self.methods.pre_training_bias
        if section is None:
            return () if self.methods.post_training_bias is not None else tuple(PRETRAINING)
        return tuple(PRETRAINING) if section.methods == "all" else tuple(section.methods)

    @property
    def posttraining(self) -> tuple[str, ...]:
        """The names of the post-training metrics that are asked for; all where no method is named and there are
        predictions."""
        section = self.methods.post_training_bias
        every = (*POSTTRAINING, FLIPTEST[0])
        if section is None:
            return every if self.methods.pre_training_bias is None and self.predicted_label is not None else ()
        return every if section.methods == "all" else tuple(section.methods)

    @property
    def elsewhere(self) -> list[str]:
        """Methods that are asked for and not run here."""
        return [name for name in _ELSEWHERE if getattr(self.methods, name) is not None]


def read_analysis_config(file: Path) -> AnalysisConfig:
    """Read and check a configuration.

    Raises
    ------
    UsageError
        When it is missing, no JSON, or says something that cannot be meant, with the field's name.
    """
    try:
        document = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"The configuration cannot be read: {error.strerror}.", where=file, do="check the path"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"The configuration is no JSON: {error}.", where=file, allowed="Clarify's analysis_config.json"
        ) from error
    return parse_analysis_config(document, str(file))


def parse_analysis_config(document: Any, where: str = "analysis_config") -> AnalysisConfig:
    """Check a configuration that was read.

    Raises
    ------
    UsageError
        As :func:`read_analysis_config`.
    """
    try:
        config = AnalysisConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UsageError(
            f"The configuration cannot be used: {place}: {first['msg']}.",
            where=where,
            allowed="the fields of Clarify's analysis_config.json; label and facet are needed",
        ) from error
    for field, named, known in (
        ("pre_training_bias", config.pretraining, tuple(PRETRAINING)),
        ("post_training_bias", config.posttraining, (*POSTTRAINING, FLIPTEST[0])),
    ):
        if unknown := [name for name in named if name not in known]:
            raise UsageError(
                f"There is no metric {unknown[0]!r}.", where=f"{where}: methods.{field}", allowed=", ".join(known)
            )
    wants = config.methods.post_training_bias is not None
    if wants and config.predicted_label is None and config.predictor is None:
        raise UsageError(
            "Post-training metrics need predictions, and no column of them is named.",
            where=f"{where}: predicted_label",
            do="name the column, in the table or in predicted_label_dataset_uri, or the model in predictor",
        )
    return config
