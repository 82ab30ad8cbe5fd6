"""Endpoint configurations: documents that name models."""

from __future__ import annotations

from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.records import Records
from vizsla.aws.requests import checked_name, moment, now, page
from vizsla.aws.sagemaker import models


def table(ctx: Context) -> Records:
    """The configurations."""
    return Records(ctx.state / "endpoint-config")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpointConfig."""
    name = checked_name(request, "EndpointConfigName")
    arn = ctx.arn("endpoint-config", name)
    for variant in request.get("ProductionVariants") or []:
        if variant.get("ModelName"):
            models.find(ctx, variant["ModelName"])
        else:
            raise invalid(
                f"The variant {variant.get('VariantName')!r} names no model: inference components are not offered here."
            )
    if not table(ctx).create(name, request | {"CreationTime": now()}):
        raise invalid(f'Cannot create already existing endpoint configuration "{arn}".')
    tags.keep(ctx, arn, request)
    return {"EndpointConfigArn": arn}


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeEndpointConfig."""
    document = find(ctx, checked_name(request, "EndpointConfigName"))
    members = {key: value for key, value in document.items() if key != "Tags"}
    return members | {
        "EndpointConfigArn": ctx.arn("endpoint-config", document["EndpointConfigName"]),
        "CreationTime": moment(document["CreationTime"]),
    }


def delete(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteEndpointConfig."""
    name = checked_name(request, "EndpointConfigName")
    find(ctx, name)
    table(ctx).remove(name)
    return {}


def list_configs(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListEndpointConfigs."""
    rows = (
        {
            "EndpointConfigName": document["EndpointConfigName"],
            "EndpointConfigArn": ctx.arn("endpoint-config", document["EndpointConfigName"]),
            "CreationTime": moment(document["CreationTime"]),
        }
        for document in table(ctx).all()
    )
    return page(rows, request, key="EndpointConfigs", name="EndpointConfigName")


def find(ctx: Context, name: str) -> dict[str, Any]:
    """The configuration of this name, as it was asked for.

    Raises
    ------
    AwsError
        When there is none.
    """
    document = table(ctx).find(name)
    if document is None:
        raise invalid(f'Could not find endpoint configuration "{ctx.arn("endpoint-config", name)}".')
    return document
