"""How a package's facts are kept as tags of MLflow's model version, and read from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from vizsla.registry.package import PENDING, Approval, ModelPackage

STATUS, APPROVAL, FACTS = "vizsla.approval_status", "vizsla.approval", "vizsla.package"


def approval_tags(approval: Approval) -> dict[str, str]:
    """The tags that say who decided what."""
    return {STATUS: approval.status, APPROVAL: json.dumps(asdict(approval))}


def facts_tag(**facts: Any) -> dict[str, str]:
    """The tag with what was known when the package was registered: metrics, lineage, proof, sha256."""
    return {STATUS: PENDING, FACTS: json.dumps(facts)}


def package_of(
    group: str,
    version: int,
    source: str,
    created: float,
    description: str | None,
    tags: Mapping[str, str],
    aliases: Sequence[str],
) -> ModelPackage:
    """The package behind a version of MLflow's; ``created`` in milliseconds since 1970. One that somebody else
    registered has no facts and waits for approval."""
    facts = _json(tags.get(FACTS))
    approval = _json(tags.get(APPROVAL))
    moment = datetime.fromtimestamp(created / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    status: Any = tags.get(STATUS, PENDING)
    return ModelPackage(
        group=group,
        version=version,
        source=source,
        created=moment,
        status=status,
        approval=Approval(**approval) if approval else None,
        aliases=tuple(sorted(aliases)),
        description=description or None,
        metrics=facts.get("metrics", {}),
        lineage=facts.get("lineage", {}),
        proof=facts.get("proof", {}),
        sha256=facts.get("sha256"),
    )


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
