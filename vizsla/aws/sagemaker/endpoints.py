"""Endpoints: servers in the background, each created, changed and deleted while this one runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.records import Records
from vizsla.aws.requests import checked_name, moment, now, page, present
from vizsla.aws.sagemaker import endpoint_configs, models
from vizsla.aws.sagemaker.local_document import local_address
from vizsla.errors import VizslaError
from vizsla.serving.endpoint_config import DataCapture, Routing, Variant
from vizsla.serving.endpoint_folder import EndpointFolder
from vizsla.workflow import endpoints as servers

_CREATING: set[str] = set()
"""Endpoints that this process is just creating, by their ARN."""


def table(ctx: Context) -> Records:
    """What is known of endpoints beside their folders: the configuration they were made of, and why one failed."""
    return Records(ctx.state / "endpoint")


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateEndpoint: answers at once; the server starts meanwhile."""
    name = checked_name(request, "EndpointName")
    arn = ctx.arn("endpoint", name)
    config = endpoint_configs.CONFIGS.find(ctx, checked_name(request, "EndpointConfigName"))
    if _folder(ctx, name) is not None:
        raise invalid(f'Cannot create already existing endpoint "{arn}".')
    plan = _plan(ctx, config)
    record = {"EndpointName": name, "EndpointConfigName": config["EndpointConfigName"], "CreationTime": now()}
    if not table(ctx).create(name, record):
        raise invalid(f'Cannot create already existing endpoint "{arn}".')
    tags.keep(ctx, arn, request)
    _CREATING.add(arn)
    threading.Thread(target=_start, args=(ctx, name, plan, record), name=f"create-{name}", daemon=True).start()
    return {"EndpointArn": arn}


def _start(ctx: Context, name: str, plan: dict[str, Any], record: dict[str, Any]) -> None:
    try:
        servers.create(name, allow_code=True, **plan)
    except Exception as error:  # noqa: BLE001 - it is told by DescribeEndpoint
        reason = error.what if isinstance(error, VizslaError) else f"{type(error).__name__}: {error}"
        if table(ctx).find(name) is not None:
            table(ctx).replace(name, record | {"FailureReason": reason[:1024]})
    finally:
        _CREATING.discard(ctx.arn("endpoint", name))


def _plan(ctx: Context, config: dict[str, Any]) -> dict[str, Any]:
    """What :func:`vizsla.workflow.endpoints.create` is asked for."""
    variants = config["ProductionVariants"]
    served = [models.served(ctx, models.MODELS.find(ctx, variant["ModelName"])) for variant in variants]
    environment: dict[str, str] = {}
    for one in served:
        environment |= one.environment
    plan: dict[str, Any] = {"environment": environment, "capture": _capture(ctx, config.get("DataCaptureConfig"))}
    if served[0].is_multi_model:
        return plan | {"models_dir": served[0].place}
    return plan | {
        "variants": [
            Variant(
                variant_name=variant["VariantName"],
                model_name=one.place,
                initial_variant_weight=variant.get("InitialVariantWeight", 1.0),
            )
            for variant, one in zip(variants, served, strict=True)
        ]
    }


def _capture(ctx: Context, asked: dict[str, Any] | None) -> DataCapture | None:
    if not asked or not asked.get("EnableCapture", True):
        return None
    address = asked.get("DestinationS3Uri")
    return DataCapture(
        initial_sampling_percentage=asked.get("InitialSamplingPercentage", 100),
        destination_s3_uri=None if address is None else local_address(ctx, address),
        capture_options=[{"CaptureMode": option["CaptureMode"]} for option in asked.get("CaptureOptions") or []]
        or [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    )


def update(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateEndpoint."""
    name = checked_name(request, "EndpointName")
    folder = _in_service(ctx, name)
    config = endpoint_configs.CONFIGS.find(ctx, checked_name(request, "EndpointConfigName"))
    plan = _plan(ctx, config)
    servers.replace(folder, routing=_routing(request.get("DeploymentConfig")), **plan)
    record = (table(ctx).find(name) or {"EndpointName": name, "CreationTime": now()}) | {
        "EndpointConfigName": config["EndpointConfigName"],
        "LastModifiedTime": now(),
    }
    table(ctx).replace(name, record)
    return {"EndpointArn": ctx.arn("endpoint", name)}


def update_weights(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateEndpointWeightsAndCapacities."""
    name = checked_name(request, "EndpointName")
    folder = _in_service(ctx, name)
    wanted = {
        one["VariantName"]: float(one["DesiredWeight"])
        for one in request["DesiredWeightsAndCapacities"]
        if "DesiredWeight" in one
    }
    now_are = {v.variant_name: v.initial_variant_weight for v in folder.config().production_variants}
    if wanted and now_are | wanted != now_are:
        servers.update(folder, weights=wanted)
    return {"EndpointArn": ctx.arn("endpoint", name)}


def _routing(deployment: dict[str, Any] | None) -> Routing | None:
    policy = ((deployment or {}).get("BlueGreenUpdatePolicy") or {}).get("TrafficRoutingConfiguration")
    if not policy:
        return None
    size = policy.get("CanarySize") or policy.get("LinearStepSize") or {}
    return Routing(
        type=policy["Type"],
        step_percent=size.get("Value", 10) if size.get("Type") != "INSTANCE_COUNT" else 50,
        wait_interval_in_seconds=policy.get("WaitIntervalInSeconds", 60),
    )


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeEndpoint."""
    name = checked_name(request, "EndpointName")
    record, folder = table(ctx).find(name), _folder(ctx, name)
    if record is None and folder is None:
        raise invalid(f'Could not find endpoint "{ctx.arn("endpoint", name)}".')
    record = record or {}
    created = moment(record.get("CreationTime")) or moment(_created(folder))
    status = _status(ctx, name, record, folder)
    return present(
        {
            "EndpointName": name,
            "EndpointArn": ctx.arn("endpoint", name),
            "EndpointConfigName": record.get("EndpointConfigName") or name,
            "EndpointStatus": status,
            "CreationTime": created,
            "LastModifiedTime": moment(record.get("LastModifiedTime")) or created,
            "ProductionVariants": _variants(ctx, record, folder) or None,
            "FailureReason": _reason(record, folder) if status == "Failed" else None,
        }
    )


def _status(ctx: Context, name: str, record: dict[str, Any], folder: EndpointFolder | None) -> str:
    if ctx.arn("endpoint", name) in _CREATING:
        return "Creating"
    if folder is None or "FailureReason" in record:
        return "Failed"
    return folder.status()


def _reason(record: dict[str, Any], folder: EndpointFolder | None) -> str:
    told = None if folder is None else folder.state().get("reason")
    return str(record.get("FailureReason") or told or "The server ended while the endpoint was created.")


def _variants(ctx: Context, record: dict[str, Any], folder: EndpointFolder | None) -> list[dict[str, Any]]:
    if folder is None:
        return []
    config = endpoint_configs.CONFIGS.table(ctx).find(str(record.get("EndpointConfigName"))) or {}
    asked = {one["VariantName"]: one for one in config.get("ProductionVariants") or []}
    return [
        present(
            {
                "VariantName": variant.variant_name,
                "CurrentWeight": variant.initial_variant_weight,
                "DesiredWeight": variant.initial_variant_weight,
                "CurrentInstanceCount": 1,
                "DesiredInstanceCount": 1,
                "CurrentServerlessConfig": asked.get(variant.variant_name, {}).get("ServerlessConfig"),
                "DeployedImages": [],
            }
        )
        for variant in folder.config().production_variants
    ]


def delete(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteEndpoint: its model and configuration stay."""
    name = checked_name(request, "EndpointName")
    record, folder = table(ctx).find(name), _folder(ctx, name)
    if record is None and folder is None:
        raise invalid(f'Could not find endpoint "{ctx.arn("endpoint", name)}".')
    if ctx.arn("endpoint", name) in _CREATING:
        raise invalid(f'Cannot update in-progress endpoint "{ctx.arn("endpoint", name)}".')
    if folder is not None:
        servers.delete(folder)
    table(ctx).remove(name)
    return {}


def list_endpoints(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListEndpoints."""
    return page(rows(ctx), request, key="Endpoints", name="EndpointName")


def rows(ctx: Context) -> Iterator[dict[str, Any]]:
    """All endpoints as rows of a list."""
    names = {record["EndpointName"] for record in table(ctx).all()} | {folder.name for folder in servers.every()}
    for name in sorted(names):
        row = describe(ctx, {"EndpointName": name})
        members = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        yield {member: row[member] for member in members}


def _folder(ctx: Context, name: str) -> EndpointFolder | None:
    folder = EndpointFolder(ctx.home.absolute() / "endpoints" / name)
    return folder if folder.config_file.is_file() else None


def _created(folder: EndpointFolder | None) -> float | None:
    return None if folder is None else folder.path.stat().st_ctime


def _in_service(ctx: Context, name: str) -> EndpointFolder:
    folder, record, arn = _folder(ctx, name), table(ctx).find(name), ctx.arn("endpoint", name)
    if folder is None and record is None:
        raise invalid(f'Could not find endpoint "{arn}".')
    if (status := _status(ctx, name, record or {}, folder)) == "Failed":
        raise invalid(f'Cannot update endpoint "{arn}", which has failed: delete it and create it again.')
    if folder is None or status != "InService":
        raise invalid(f'Cannot update in-progress endpoint "{arn}".')
    return folder


def port_of(ctx: Context, name: str) -> int:
    """The port of an endpoint's own server.

    Raises
    ------
    AwsError
        When it is not there, or not in service yet.
    """
    folder = _folder(ctx, name)
    if folder is None:
        raise AwsError("ValidationError", f"Endpoint {name} of account {ctx.account} not found.")
    if folder.status() not in ("InService", "Updating"):
        raise AwsError("ValidationError", f"Endpoint {name} of account {ctx.account} is {folder.status()}.")
    return folder.config().port


def served_by(ctx: Context, name: str, target: str | None) -> models.Served:
    """What an endpoint serves, or the one of its many models that ``target`` names.

    Raises
    ------
    AwsError
        When there is no such endpoint.
    """
    folder = _folder(ctx, name)
    if folder is None:
        raise invalid(f'Could not find endpoint "{ctx.arn("endpoint", name)}".')
    config = folder.config()
    place = config.production_variants[0].model_name
    if config.is_multi_model:
        place = f"{place}/{(target or '').lstrip('/')}"
    return models.Served(place, False, config.environment or {})
