"""Endpoint configurations: documents that name models."""

from __future__ import annotations

from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.sagemaker.models import MODELS
from vizsla.aws.sagemaker.named import Resource

CONFIGS = Resource("endpoint-config", "EndpointConfig", "endpoint configuration", "EndpointConfigs")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpointConfig."""
    for variant in request.get("ProductionVariants") or []:
        if variant.get("ModelName"):
            MODELS.find(ctx, variant["ModelName"])
        else:
            raise invalid(
                f"The variant {variant.get('VariantName')!r} names no model: inference components are not offered here."
            )
    return CONFIGS.create(ctx, request)
