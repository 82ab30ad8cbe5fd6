"""Clarify's analyses as our own jobs: a table's bias, and why a model says what it says of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.sagemaker import endpoints, models
from vizsla.data.picture_files import picture_files
from vizsla.evaluation.bias.analysis_config import parse_analysis_config
from vizsla.files import write_json
from vizsla.workflow.bias import BiasRequest
from vizsla.workflow.explain import ExplainRequest

PICTURES = "application/x-image"


def clarify_document(
    ctx: Context, asked: dict[str, Any], config: Path, data: Path, output: Path
) -> tuple[str, dict[str, Any], str | None]:
    """The kind and the document of the job that answers an ``analysis_config.json``, and what of it is left out.

    Raises
    ------
    AwsError
        When it asks for what is not computed here.
    """
    if asked.get("dataset_type") == PICTURES or "shap" in (asked.get("methods") or {}):
        return "explain", _explain(ctx, asked, data, output), None
    answered, note = _answerable(asked)
    parse_analysis_config(answered, str(config))
    if answered != asked:
        config = output / "analysis_config.json"
        write_json(config, answered)
    request = BiasRequest(str(_table(data)), str(config), str(output), like_clarify=True)
    return "bias", request.to_document(), note


def _answerable(asked: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The configuration without a facet that is only the text None, and without metrics of predictions that nobody
    made: an endpoint is not asked for them."""
    facets = [facet for facet in asked.get("facet") or [] if facet.get("name_or_index") != "None"]
    answered = asked | {"facet": facets}
    methods = asked.get("methods") or {}
    if "post_training_bias" not in methods or "pre_training_bias" not in methods or asked.get("predicted_label"):
        return answered, None
    note = (
        "The post-training metrics are left out: they need predictions, and no column of them is named. "
        "Name it by DataConfig(predicted_label=...)."
    )
    return answered | {"methods": {k: v for k, v in methods.items() if k != "post_training_bias"}}, note


def _table(data: Path) -> Path:
    if data.is_file():
        return data
    tables = sorted(path for path in data.rglob("*") if path.suffix in (".csv", ".jsonl", ".parquet", ".json"))
    if not tables:
        raise invalid("The data set of the analysis holds no table (.csv, .jsonl, .parquet).")
    return tables[0]


def _explain(ctx: Context, asked: dict[str, Any], data: Path, output: Path) -> dict[str, Any]:
    shap = (asked.get("methods") or {}).get("shap") or {}
    pictures = shap.get("image_config") or {}
    values = {
        name: pictures[name] for name in ("num_segments", "segment_compactness") if pictures.get(name) is not None
    }
    if shap.get("num_samples"):
        values["num_samples"] = int(shap["num_samples"])
    request = ExplainRequest(
        model=_model(ctx, asked.get("predictor") or {}),
        images=[str(path) for path in picture_files([str(data)])],
        output=str(output),
        method="kernel_shap",
        nearest=0,
        **values,
    )
    return request.to_document()


def _model(ctx: Context, predictor: dict[str, Any]) -> str:
    """The path of the model that a predictor means: one by name, or what an endpoint serves."""
    if (name := predictor.get("model_name")) is not None:
        return models.served(ctx, models.MODELS.find(ctx, name)).place
    if (name := predictor.get("endpoint_name")) is not None:
        return endpoints.model_of(ctx, name, predictor.get("target_model"))
    raise invalid("The predictor names neither a model nor an endpoint.")
