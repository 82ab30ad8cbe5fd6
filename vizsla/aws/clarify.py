"""Clarify's analyses as our own jobs: a table's bias, and why a model says what it says of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.sagemaker import endpoints, models
from vizsla.data.picture_files import picture_files
from vizsla.evaluation.bias.analysis_config import parse_analysis_config
from vizsla.files import write_json
from vizsla.reports.pdf import find_browser
from vizsla.workflow.bias import BiasRequest
from vizsla.workflow.explain import ExplainRequest

PICTURES = "application/x-image"


@dataclass(frozen=True)
class Analysis:
    """The job that answers an ``analysis_config.json``: its kind, its document, and what of it is left out."""

    kind: str
    document: dict[str, Any]
    note: str | None = None


def analysis_of(ctx: Context, asked: dict[str, Any], config: Path, data: Path, output: Path) -> Analysis:
    """What is run for a configuration.

    Raises
    ------
    AwsError
        When it asks for what is not computed here, or for a model that is not here.
    """
    methods = asked.get("methods") or {}
    if asked.get("dataset_type") == PICTURES:
        return _explain(ctx, asked, data, output)
    if left_out := [name for name in ("shap", "pdp", "asymmetric_shapley_value") if name in methods]:
        raise invalid(
            f"{left_out[0]} of a table (dataset_type {asked.get('dataset_type')}) is not computed here: there are the "
            f"bias of tables and SHAP of pictures (dataset_type {PICTURES})."
        )
    answered, note = _answerable(asked)
    parsed = parse_analysis_config(answered, str(config))
    if answered != asked:
        config = output / "analysis_config.json"
        write_json(config, answered)
    model = None
    if parsed.methods.post_training_bias is not None and parsed.predicted_label is None:
        model = _model(ctx, parsed.predictor or {})
    request = BiasRequest(
        str(_table(data)),
        str(config),
        str(output),
        like_clarify=True,
        pdf=find_browser() is not None,
        model=None if model is None else model.place,
        allow_code=model is not None,
    )
    return Analysis("bias", _with_variables(request.to_document(), model), note)


def _answerable(asked: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The configuration without a facet that is only the text None, and without metrics of predictions that nobody
    makes."""
    facets = [facet for facet in asked.get("facet") or [] if facet.get("name_or_index") != "None"]
    answered = asked | {"facet": facets}
    methods = asked.get("methods") or {}
    if "post_training_bias" not in methods or "pre_training_bias" not in methods:
        return answered, None
    if asked.get("predicted_label") or asked.get("predictor"):
        return answered, None
    note = (
        "The post-training metrics are left out: they need predictions, and neither a column of them nor a model is "
        "named. Name it by DataConfig(predicted_label=...) or by ModelConfig(...)."
    )
    return answered | {"methods": {k: v for k, v in methods.items() if k != "post_training_bias"}}, note


def _table(data: Path) -> Path:
    if data.is_file():
        return data
    tables = sorted(path for path in data.rglob("*") if path.suffix in (".csv", ".jsonl", ".parquet", ".json"))
    if not tables:
        raise invalid("The data set of the analysis holds no table (.csv, .jsonl, .parquet).")
    return tables[0]


def _explain(ctx: Context, asked: dict[str, Any], data: Path, output: Path) -> Analysis:
    shap = (asked.get("methods") or {}).get("shap") or {}
    pictures = shap.get("image_config") or {}
    values = {
        name: pictures[name] for name in ("num_segments", "segment_compactness") if pictures.get(name) is not None
    }
    if shap.get("num_samples"):
        values["num_samples"] = int(shap["num_samples"])
    predictor = asked.get("predictor") or {}
    model = _model(ctx, predictor)
    request = ExplainRequest(
        model=model.place,
        images=[str(path) for path in picture_files([str(data)])],
        output=str(output),
        method="kernel_shap",
        nearest=0,
        pdf=find_browser() is not None,
        allow_code=True,
        predictor=predictor,
        **values,
    )
    return Analysis("explain", _with_variables(request.to_document(), model))


def _with_variables(document: dict[str, Any], model: models.Served | None) -> dict[str, Any]:
    """What a model's own code finds, beside the document of the job that asks it."""
    return document if model is None else document | {"Environment": model.environment}


def _model(ctx: Context, predictor: dict[str, Any]) -> models.Served:
    """The model that a predictor means: one by name, or what an endpoint serves."""
    if (name := predictor.get("model_name")) is not None:
        return models.served(ctx, models.MODELS.find(ctx, name))
    if (name := predictor.get("endpoint_name")) is not None:
        return endpoints.served_by(ctx, name, predictor.get("target_model"))
    raise invalid("The predictor names neither a model nor an endpoint.")
