"""Model packages: versions of models in groups, with their approval. The registry has them all; what a client said of
its own is kept beside it, word for word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vizsla.aws import tags
from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.records import Records
from vizsla.aws.requests import checked_name, moment, now, page, present
from vizsla.aws.sagemaker import registered
from vizsla.aws.sagemaker.local_document import local_address, local_file, model_data
from vizsla.jobs.spec import local_path

_PENDING = "PendingManualApproval"
_STATUSES = ("Approved", "Rejected", _PENDING)
_OF_A_BATCH = ("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription",
               "CreationTime", "InferenceSpecification", "ModelPackageStatus", "ModelApprovalStatus")  # fmt: skip


def groups(ctx: Context) -> Records:
    """The groups."""
    return Records(ctx.state / "model-package-group")


def _requests(ctx: Context, group: str) -> Records:
    """What clients said of the versions that they made."""
    return Records(ctx.state / "model-package" / group)


def _all_groups(ctx: Context) -> list[dict[str, Any]]:
    found = {document["ModelPackageGroupName"]: document for document in (*registered.groups(), *groups(ctx).all())}
    return [found[name] for name in sorted(found)]


def _versions(ctx: Context, group: str) -> list[dict[str, Any]]:
    """The versions as documents."""
    requests = _requests(ctx, group)
    return [
        (
            requests.find(str(package.version))
            or {"InferenceSpecification": {"Containers": [registered.container_of(package)]}}
        )
        | registered.facts_of(package)
        for package in registered.versions(group)
    ]


def create_group(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackageGroup."""
    name = checked_name(request, "ModelPackageGroupName")
    arn = ctx.arn("model-package-group", name)
    if registered.versions(name) or not groups(ctx).create(name, request | {"CreationTime": now()}):
        raise invalid(f"Model Package Group already exists: {arn}")
    tags.keep(ctx, arn, request)
    return {"ModelPackageGroupArn": arn}


def describe_group(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeModelPackageGroup."""
    return _group(ctx, _find_group(ctx, _name_of_arn(request["ModelPackageGroupName"]))) | {"CreatedBy": {}}


def delete_group(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackageGroup."""
    name = _find_group(ctx, _name_of_arn(request["ModelPackageGroupName"]))["ModelPackageGroupName"]
    if registered.versions(name):
        raise invalid(f"Model Package Group {name} cannot be deleted because it still contains Model Packages.")
    groups(ctx).remove(name)
    return {}


def list_groups(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackageGroups."""
    return page(every_group(ctx), request, key="ModelPackageGroupSummaryList", name="ModelPackageGroupName")


def _group(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    name = document["ModelPackageGroupName"]
    return present(
        {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": ctx.arn("model-package-group", name),
            "ModelPackageGroupDescription": document.get("ModelPackageGroupDescription"),
            "CreationTime": moment(document["CreationTime"]),
            "ModelPackageGroupStatus": "Completed",
        }
    )


def every_group(ctx: Context) -> list[dict[str, Any]]:
    """All groups, as they are described."""
    return [_group(ctx, document) for document in _all_groups(ctx)]


def every(ctx: Context) -> list[dict[str, Any]]:
    """All versions, as they are described."""
    return [
        _described(ctx, one) for group in _all_groups(ctx) for one in _versions(ctx, group["ModelPackageGroupName"])
    ]


def batch_describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """BatchDescribeModelPackage."""
    told: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    for arn in request["ModelPackageArnList"]:
        try:
            row = _described(ctx, find(ctx, arn))
        except AwsError as error:
            errors[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
            continue
        told[arn] = {name: row[name] for name in _OF_A_BATCH if name in row}
    return {"ModelPackageSummaries": told, "BatchDescribeModelPackageErrorMap": errors}


def create(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """CreateModelPackage: the next version of its group; the same ClientToken gives the same version."""
    group = request.get("ModelPackageGroupName") or request.get("ModelPackageName")
    if not group:
        raise invalid("ModelPackageGroupName or ModelPackageName is required.")
    group = _name_of_arn(group)
    own = groups(ctx).find(group) is not None
    if not own and registered.versions(group):
        raise invalid(
            f"The versions of the group {group} are proven before they are registered: "
            f"`vizsla models register JOB --group {group}` makes the next one."
        )
    if request.get("ModelPackageGroupName"):
        _find_group(ctx, group)
    elif not own:
        groups(ctx).create(checked_name({"ModelPackageName": group}, "ModelPackageName"), _group_document(group))
    _check_status(request)
    token = request.get("ClientToken")
    for document in _versions(ctx, group):
        if token is not None and document.get("ClientToken") == token:
            return {"ModelPackageArn": _arn(ctx, group, document["ModelPackageVersion"])}
    address, model = _data(ctx, request)
    version = registered.register(group, address, model, request.get("ModelPackageDescription"))
    _requests(ctx, group).replace(str(version), request)
    if "ModelApprovalStatus" in request:
        registered.approve(group, version, request["ModelApprovalStatus"], request.get("ApprovalDescription"))
    arn = _arn(ctx, group, version)
    tags.keep(ctx, arn, request)
    return {"ModelPackageArn": arn}


def _group_document(name: str) -> dict[str, Any]:
    return {"ModelPackageGroupName": name, "CreationTime": now()}


def _data(ctx: Context, request: dict[str, Any]) -> tuple[str | None, Path | None]:
    """Where a client says that the model is, and the file or folder that this is here."""
    containers = (request.get("InferenceSpecification") or {}).get("Containers") or [{}]
    address = model_data(containers[0])
    if address is None or local_path(local_address(ctx, address)) is None:
        return address, None
    return address, local_file(ctx, address)


def describe(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeModelPackage."""
    return _described(ctx, find(ctx, request["ModelPackageName"]))


def _described(ctx: Context, document: dict[str, Any]) -> dict[str, Any]:
    group, version = document["ModelPackageGroupName"], document["ModelPackageVersion"]
    members = {
        name: value for name, value in document.items() if name not in ("Tags", "ClientToken", "ModelPackageName")
    }
    if "InferenceSpecification" in document:
        specification = document["InferenceSpecification"]
        members["InferenceSpecification"] = {
            "SupportedContentTypes": [],
            "SupportedResponseMIMETypes": [],
        } | specification
    return members | present(
        {
            "ModelPackageName": group,
            "ModelPackageArn": _arn(ctx, group, version),
            "CreationTime": moment(document["CreationTime"]),
            "LastModifiedTime": moment(document.get("LastModifiedTime")),
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "ModelApprovalStatus": document.get("ModelApprovalStatus") or _PENDING,
        }
    )


def list_packages(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """ListModelPackages."""
    wanted = request.get("ModelApprovalStatus")
    named = request.get("ModelPackageGroupName")
    rows = [
        row
        for row in _rows(ctx, None if named is None else _find_group(ctx, _name_of_arn(named))["ModelPackageGroupName"])
        if wanted in (None, row["ModelApprovalStatus"])
    ]
    rows.sort(key=lambda row: row["ModelPackageVersion"])
    return page(rows, request, key="ModelPackageSummaryList", name="ModelPackageArn")


def _rows(ctx: Context, group: str | None) -> Iterator[dict[str, Any]]:
    names = [document["ModelPackageGroupName"] for document in _all_groups(ctx)] if group is None else [group]
    for name in names:
        for document in _versions(ctx, name):
            yield present(
                {
                    "ModelPackageName": name,
                    "ModelPackageGroupName": name,
                    "ModelPackageVersion": document["ModelPackageVersion"],
                    "ModelPackageArn": _arn(ctx, name, document["ModelPackageVersion"]),
                    "ModelPackageDescription": document.get("ModelPackageDescription"),
                    "CreationTime": moment(document["CreationTime"]),
                    "ModelPackageStatus": "Completed",
                    "ModelApprovalStatus": document.get("ModelApprovalStatus") or _PENDING,
                }
            )


def update(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateModelPackage: the approval, and what is said of it."""
    document = find(ctx, request["ModelPackageArn"])
    _check_status(request)
    properties = dict(document.get("CustomerMetadataProperties") or {}) | (
        request.get("CustomerMetadataProperties") or {}
    )
    for key in request.get("CustomerMetadataPropertiesToRemove") or []:
        properties.pop(key, None)
    group, version = document["ModelPackageGroupName"], document["ModelPackageVersion"]
    if "ModelApprovalStatus" in request:
        registered.approve(group, version, request["ModelApprovalStatus"], request.get("ApprovalDescription"))
    own = _requests(ctx, group).find(str(version))
    if own is not None and properties != (own.get("CustomerMetadataProperties") or {}):
        _requests(ctx, group).replace(str(version), own | {"CustomerMetadataProperties": properties})
    return {"ModelPackageArn": _arn(ctx, group, version)}


def delete(ctx: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DeleteModelPackage."""
    document = find(ctx, request["ModelPackageName"])
    group, version = document["ModelPackageGroupName"], document["ModelPackageVersion"]
    if _requests(ctx, group).find(str(version)) is None:
        raise invalid(
            f"{group}/{version} is a version of `vizsla models`: `vizsla models rm {group}/{version}` does it."
        )
    registered.remove(group, version)
    _requests(ctx, group).remove(str(version))
    return {}


def find(ctx: Context, name: str) -> dict[str, Any]:
    """A version by its ARN, by ``group/version``, or by the name of a group that has one.

    Raises
    ------
    AwsError
        When there is none.
    """
    path = name.rpartition(":model-package/")[2]
    group, _, version = path.partition("/")
    found = None
    if re.fullmatch(r"[a-zA-Z0-9-]+", group) and re.fullmatch(r"\d*", version):
        wanted = int(version or 1)
        found = next((one for one in _versions(ctx, group) if one["ModelPackageVersion"] == wanted), None)
    if found is None:
        raise invalid(f"ModelPackage {name} does not exist.")
    return found


def container(ctx: Context, name: str) -> dict[str, Any]:
    """The container of a version: image, data and variables.

    Raises
    ------
    AwsError
        When there is no such version, or it has none.
    """
    document = find(ctx, name)
    containers = (document.get("InferenceSpecification") or {}).get("Containers") or []
    if not containers:
        raise invalid(f"ModelPackage {name} has no InferenceSpecification: there is nothing to serve.")
    return dict(containers[0])


def _arn(ctx: Context, group: str, version: int) -> str:
    return ctx.arn("model-package", f"{group}/{version}")


def _name_of_arn(name: str) -> str:
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def _find_group(ctx: Context, name: str) -> dict[str, Any]:
    checked_name({"ModelPackageGroupName": name}, "ModelPackageGroupName")
    document = next((one for one in _all_groups(ctx) if one["ModelPackageGroupName"] == name), None)
    if document is None:
        raise invalid(f"ModelPackageGroup {ctx.arn('model-package-group', name)} does not exist.")
    return document


def _check_status(request: dict[str, Any]) -> None:
    status = request.get("ModelApprovalStatus")
    if status is not None and status not in _STATUSES:
        raise invalid(
            f"1 validation error detected: Value '{status}' at 'modelApprovalStatus' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(_STATUSES)}]"
        )
