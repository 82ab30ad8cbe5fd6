"""Models: names of archives, of folders of archives, and of registered packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vizsla.aws.context import Context
from vizsla.aws.errors import invalid
from vizsla.aws.requests import checked_name
from vizsla.aws.sagemaker import packages
from vizsla.aws.sagemaker.local_document import checked_role, local_address, local_file, model_data
from vizsla.aws.sagemaker.named import Resource
from vizsla.jobs.spec import local_path


@dataclass(frozen=True)
class Served:
    """What a model is on this machine: a path, or a folder of models that requests name; and the variables that its
    code finds."""

    place: str
    is_multi_model: bool
    environment: dict[str, str]


MODELS = Resource("model", "Model", "model", "Models")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModel."""
    checked_role(request, "ExecutionRoleArn")
    if MODELS.table(ctx).find(checked_name(request, MODELS.field)) is None:
        served(ctx, request)
    return MODELS.create(ctx, request)


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeModel."""
    return {"ExecutionRoleArn": f"arn:aws:iam::{ctx.account}:role/vizsla"} | MODELS.describe(ctx, request)


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
    address = model_data(container)
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
