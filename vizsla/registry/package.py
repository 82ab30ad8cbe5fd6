"""What a model package is: one version in a group, with its approval, its metrics and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from vizsla.errors import ModelError, UsageError

Status = Literal["PendingManualApproval", "Approved", "Rejected"]
PENDING: Status = "PendingManualApproval"
APPROVED: Status = "Approved"
REJECTED: Status = "Rejected"
"""SageMaker's ModelApprovalStatus."""
SCHEME = "models:/"

_NAME = r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}"
_REFERENCE = re.compile(rf"(?P<group>{_NAME})(?:/(?P<version>[1-9]\d*)|@(?P<alias>[a-zA-Z0-9][\w.-]{{0,62}}))?")
_ALLOWED = "GROUP/VERSION, GROUP@ALIAS, or GROUP for its newest approved version"


@dataclass(frozen=True)
class Reference:
    """What a person calls a package.

    >>> Reference.parse("models:/dogs@champion")
    Reference(group='dogs', version=None, alias='champion')
    """

    group: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read one, with or without ``models:/``.

        Raises
        ------
        UsageError
            When it is none.
        """
        match = _REFERENCE.fullmatch(text.removeprefix(SCHEME))
        if match is None:
            raise UsageError(f"{text!r:.200} names no version in the registry.", allowed=_ALLOWED)
        return cls(match["group"], int(match["version"]) if match["version"] else None, match["alias"])

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.group}/{self.version}"
        return self.group if self.alias is None else f"{self.group}@{self.alias}"


def check_group(name: str) -> str:
    """Return ``name`` when a group may be called so.

    Raises
    ------
    UsageError
        Otherwise.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r:.100} cannot be the name of a model package group.",
            parameter="group",
            allowed="1 to 63 letters, digits and hyphens, beginning and ending with a letter or digit",
        )
    return name


@dataclass(frozen=True)
class Approval:
    """Who decided, when and why."""

    status: Status
    by: str
    when: str
    """UTC, ISO 8601."""
    why: str | None = None


@dataclass(frozen=True)
class ModelPackage:
    """A version of a group, as the registry knows it. ``source`` is the folder or address of its files."""

    group: str
    version: int
    source: str
    created: str
    status: Status = PENDING
    approval: Approval | None = None
    aliases: tuple[str, ...] = ()
    description: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    lineage: dict[str, Any] = field(default_factory=dict)
    proof: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def name(self) -> str:
        """``group/version``."""
        return f"{self.group}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "name": self.name,
            "group": self.group,
            "version": self.version,
            "approval_status": self.status,
            "approved_by": self.approval and self.approval.by,
            "approval_time": self.approval and self.approval.when,
            "approval_reason": self.approval and self.approval.why,
            "aliases": list(self.aliases),
            "created": self.created,
            "description": self.description,
            "metrics": self.metrics,
            "lineage": self.lineage,
            "proof": self.proof,
            "sha256": self.sha256,
            "source": self.source,
        }


def choose(packages: Sequence[ModelPackage], reference: Reference) -> ModelPackage:
    """The package that a reference means, of all those in its group.

    Raises
    ------
    ModelError
        When there is none.
    """
    where = "the model registry"
    if not packages:
        raise ModelError(
            f"There is no model package group {reference.group!r}.",
            where=where,
            do=f"`vizsla models register JOB --group {reference.group}` makes it; `vizsla models list` shows others",
        )
    if reference.version is not None:
        found = [package for package in packages if package.version == reference.version]
        allowed = ", ".join(package.name for package in packages[-8:])
    elif reference.alias is not None:
        found = [package for package in packages if reference.alias in package.aliases]
        allowed = ", ".join(f"{p.group}@{alias}" for p in packages for alias in p.aliases) or "no alias is set"
    else:
        found = [package for package in packages if package.status == APPROVED]
        allowed = f"{packages[-1].name} and the others are not approved"
    if not found:
        raise ModelError(
            f"There is no {'approved version in' if reference.group == str(reference) else 'version'} {reference}.",
            where=where,
            allowed=allowed,
            do=f"`vizsla models list --group {reference.group}` shows the versions",
        )
    return found[-1]


def local_folder(package: ModelPackage) -> Path | None:
    """The folder of a package whose files are on this machine."""
    if package.source.startswith("file://"):
        return Path(unquote(package.source.removeprefix("file://")))
    return Path(package.source) if package.source.startswith("/") else None
