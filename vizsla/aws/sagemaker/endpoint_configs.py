"""Endpoint configurations: documents that name models."""

from __future__ import annotations

from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.sagemaker.models import MODELS
from vizsla.aws.sagemaker.named import Resource

CONFIGS = Resource("endpoint-config", "EndpointConfig", "endpoint configuration", "EndpointConfigs")

_NOT_OFFERED = {
    "AsyncInferenceConfig": "an endpoint answers at once; for many inputs there are transform jobs",
    "ShadowProductionVariants": "a second variant with a weight takes a share of the requests",
    "ExplainerConfig": "`vizsla explain`, or a Clarify processing job, explains what a model says",
}


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpointConfig."""
    for member, instead in _NOT_OFFERED.items():
        if request.get(member):
            raise invalid(f"{member} is not offered here: {instead}. Leave it out.")
    for variant in request.get("ProductionVariants") or []:
        if variant.get("ModelName"):
            MODELS.find(ctx, variant["ModelName"])
        else:
            raise invalid(
                f"The variant {variant.get('VariantName')!r} names no model: inference components are not offered here."
            )
    return CONFIGS.create(ctx, request)
