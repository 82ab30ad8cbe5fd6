"""Models: names of archives, of folders of archives, and of registered packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.records import Records
from vizsla.aws.requests import checked_name, moment, now, page
from vizsla.aws.sagemaker import packages
from vizsla.aws.sagemaker.local_document import checked_role, local_address, local_file
from vizsla.jobs.spec import local_path


@dataclass(frozen=True)
class Served:
    """What a model is on this machine: a path, or a folder of models that requests name; and the variables that its
    code finds."""

    place: str
    is_multi_model: bool
    environment: dict[str, str]


def table(ctx: Context) -> Records:
    """The models."""
    return Records(ctx.state / "model")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModel."""
    name = checked_name(request, "ModelName")
    checked_role(request, "ExecutionRoleArn")
    arn = ctx.arn("model", name)
    if table(ctx).find(name) is not None:
        raise invalid(f'Cannot create already existing model "{arn}".')
    served(ctx, request)
    if not table(ctx).create(name, request | {"CreationTime": now()}):
        raise invalid(f'Cannot create already existing model "{arn}".')
    tags.keep(ctx, arn, request)
    return {"ModelArn": arn}


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeModel."""
    document = find(ctx, checked_name(request, "ModelName"))
    name = document["ModelName"]
    members = {key: value for key, value in document.items() if key != "Tags"}
    return members | {
        "ModelArn": ctx.arn("model", name),
        "CreationTime": moment(document["CreationTime"]),
        "ExecutionRoleArn": document.get("ExecutionRoleArn") or f"arn:aws:iam::{ctx.account}:role/vizsla",
    }


def delete(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteModel."""
    name = checked_name(request, "ModelName")
    find(ctx, name)
    table(ctx).remove(name)
    return {}


def list_models(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListModels."""
    rows = (
        {
            "ModelName": document["ModelName"],
            "ModelArn": ctx.arn("model", document["ModelName"]),
            "CreationTime": moment(document["CreationTime"]),
        }
        for document in table(ctx).all()
    )
    return page(rows, request, key="Models", name="ModelName")


def find(ctx: Context, name: str) -> dict[str, Any]:
    """The model of this name, as it was asked for.

    Raises
    ------
    AwsError
        When there is none.
    """
    document = table(ctx).find(name)
    if document is None:
        raise invalid(f'Could not find model "{ctx.arn("model", name)}".')
    return document


def served(ctx: Context, document: dict[str, Any]) -> Served:
    """What a model is on this machine.

    Raises
    ------
    AwsError
        When its data are not here, or it is a chain of containers.
    """
    container = _container(document)
    if (package := container.get("ModelPackageName")) is not None:
        registered = packages.container(ctx, str(package))
        container = registered | {key: value for key, value in container.items() if key != "ModelPackageName"}
        container["Environment"] = (registered.get("Environment") or {}) | (container.get("Environment") or {})
    source = ((container.get("ModelDataSource") or {}).get("S3DataSource") or {}).get("S3Uri")
    address = container.get("ModelDataUrl") or source
    if not address:
        raise invalid("The container names no ModelDataUrl: there is nothing to serve.")
    environment = {name: str(value) for name, value in (container.get("Environment") or {}).items()}
    if container.get("Mode") == "MultiModel":
        folder = local_path(local_address(ctx, address))
        place = address if folder is None else str(folder)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # models may be put there later
        return Served(place, True, environment)
    return Served(str(local_file(ctx, address)), False, environment)


def _container(document: dict[str, Any]) -> dict[str, Any]:
    containers = (
        [document["PrimaryContainer"]] if document.get("PrimaryContainer") else document.get("Containers") or []
    )
    if len(containers) != 1:
        raise invalid(f"The model has {len(containers)} containers; one is served on this machine.")
    return dict(containers[0])
