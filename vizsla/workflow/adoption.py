"""Versions that a client of SageMaker registers: kept, decided about and served as all others, without a proof."""

from __future__ import annotations

import shutil
from pathlib import Path

from vizsla.registry import files, reading
from vizsla.registry.mlflow_store import MlflowStore
from vizsla.registry.package import ModelPackage, Reference, check_group
from vizsla.registry.place import registry_uri
from vizsla.registry.tags import facts_tag
from vizsla.version import VERSION

_NOTHING = "none"
"""The source of a version without a model."""


def adopt(group: str, address: str | None, model: Path | None, *, description: str | None = None) -> ModelPackage:
    """Register a model as the next version of a group, as a client says it.

    Parameters
    ----------
    address:
        Where the client says that the model is, such as ``s3://bucket/model.tar.gz``; None where it names none.
    model:
        The same as a file or folder of this machine, whose files are kept with the version: what is written over it
        later changes nothing. None where it is elsewhere.

    Raises
    ------
    ModelError
        When the archive cannot be unpacked, or the registry does not answer.
    MissingExtraError
        Without MLflow.
    """
    check_group(group)
    uri = registry_uri()
    store = MlflowStore(uri)
    lineage = {"model": address, "registered_by": "a client of SageMaker", "code": {"vizsla": VERSION}}
    if model is None:
        with files.one_writer():
            version = store.create(group, address or _NOTHING, facts_tag(lineage=lineage), None, description)
        return reading.find(Reference(group, version), uri)
    staging = files.stage(model, None)
    try:
        tags = facts_tag(lineage=lineage, sha256=files.digest(staging / files.MODEL))
        version = files.enter(staging, store, group, model.name.partition(".")[0], tags, None, description)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return reading.find(Reference(group, version), uri)
