"""The versions of ``vizsla models`` as model packages: seen, approved and served by clients; registered by their own
verb, which proves them."""

from __future__ import annotations

from typing import Any, cast

from vizsla.registry import reading
from vizsla.registry.package import SCHEME, ModelPackage, Status, local_folder
from vizsla.workflow.registration import decide

IMAGE = "vizsla"
"""What stands for the image of a model that Vizsla saved."""


def groups() -> list[dict[str, Any]]:
    """The groups, as documents."""
    first: dict[str, ModelPackage] = {}
    for package in reading.packages():
        first.setdefault(package.group, package)
    return [{"ModelPackageGroupName": name, "CreationTime": one.created} for name, one in first.items()]


def versions(group: str) -> list[dict[str, Any]]:
    """The versions of a group, as documents."""
    return [_document(package) for package in reading.packages(group)]


def approve(group: str, version: int, status: str, why: str | None) -> None:
    """Approve or reject a version.

    Raises
    ------
    ModelError
        When its files are not what was registered.
    """
    decide(f"{SCHEME}{group}/{version}", cast(Status, status), why)


def _document(package: ModelPackage) -> dict[str, Any]:
    folder = local_folder(package)
    address = package.source if folder is None else (folder / "model").as_uri()
    document = {
        "ModelPackageGroupName": package.group,
        "ModelPackageVersion": package.version,
        "CreationTime": package.created,
        "ModelApprovalStatus": package.status,
        "InferenceSpecification": {"Containers": [{"Image": IMAGE, "ModelDataUrl": address}]},
    }
    if package.description:
        document["ModelPackageDescription"] = package.description
    if package.approval is not None and package.approval.why:
        document["ApprovalDescription"] = package.approval.why
    return document
