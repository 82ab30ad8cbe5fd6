"""The versions of MLflow's registry as model packages: those of ``vizsla models`` and those that clients register."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from vizsla.registry import reading
from vizsla.registry.package import SCHEME, ModelPackage, Status, local_folder

IMAGE = "vizsla"
"""What stands for the image of a model that Vizsla saved."""


def groups() -> list[dict[str, Any]]:
    """The groups that have versions, as documents."""
    first: dict[str, ModelPackage] = {}
    for package in reading.packages():
        first.setdefault(package.group, package)
    return [{"ModelPackageGroupName": name, "CreationTime": one.created} for name, one in first.items()]


def versions(group: str) -> list[ModelPackage]:
    """The versions of a group."""
    return reading.packages(group)


def container_of(package: ModelPackage) -> dict[str, Any]:
    """The container of a version that no client has described."""
    folder = local_folder(package)
    address = package.source if folder is None else (folder / "model").as_uri()
    return {"Image": IMAGE, "ModelDataUrl": address}


def facts_of(package: ModelPackage) -> dict[str, Any]:
    """What the registry knows of a version, in the members of DescribeModelPackage."""
    facts: dict[str, Any] = {
        "ModelPackageGroupName": package.group,
        "ModelPackageVersion": package.version,
        "CreationTime": package.created,
        "ModelApprovalStatus": package.status,
    }
    if package.description:
        facts["ModelPackageDescription"] = package.description
    if package.approval is not None:
        facts["LastModifiedTime"] = package.approval.when
        if package.approval.why:
            facts["ApprovalDescription"] = package.approval.why
    return facts


def register(group: str, address: str | None, model: Path | None, description: str | None) -> int:
    """Register what a client says as the next version of a group; its number.

    Raises
    ------
    VizslaError
        When its archive cannot be unpacked, or there is no MLflow.
    """
    from vizsla.workflow.adoption import adopt  # with MLflow: only where it is wanted

    return adopt(group, address, model, description=description).version


def approve(group: str, version: int, status: str, why: str | None) -> None:
    """Approve or reject a version.

    Raises
    ------
    ModelError
        When its files are not what was registered.
    """
    from vizsla.workflow.registration import decide

    decide(f"{SCHEME}{group}/{version}", cast(Status, status), why)


def remove(group: str, version: int) -> None:
    """Take a version out of the registry.

    Raises
    ------
    ModelError
        When an alias means it.
    """
    from vizsla.workflow.registration import remove as remove_versions

    remove_versions([f"{group}/{version}"])
