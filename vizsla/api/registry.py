"""``vizsla.register``, ``approve``, ``reject``, ``export``: a model's versions, and its other forms."""

from __future__ import annotations

import os
from pathlib import Path

from vizsla.api.inputs import PathLike
from vizsla.registry.package import APPROVED, REJECTED, ModelPackage
from vizsla.workflow.exports import Export
from vizsla.workflow.exports import export as export_model
from vizsla.workflow.registration import Registration, decide
from vizsla.workflow.registration import register as register_model


def register(
    model: PathLike,
    group: str,
    *,
    pictures: PathLike | None = None,
    description: str | None = None,
    allow_code: bool = False,
) -> Registration:
    """Register a model as a group's next version, when evaluation, saved model, endpoint and batch transform agree.

    Parameters
    ----------
    model:
        What :func:`fit` returned, a job, a model folder or an archive.
    pictures:
        What proves it; by default test pictures of the job.
    allow_code:
        Run the own code of a model that brings some.

    Raises
    ------
    VizslaError
        When they do not agree, or for anything that cannot be meant.

    Examples
    --------
    >>> vizsla.register(result, "flowers").package.name  # doctest: +SKIP
    'flowers/1'
    >>> vizsla.approve("flowers/1", alias="champion", why="better than the last")  # doctest: +SKIP
    """
    place = None if pictures is None else os.fspath(pictures)
    return register_model(os.fspath(model), group, pictures=place, description=description, allow_code=allow_code)


def approve(version: str, *, alias: str | None = None, why: str | None = None) -> ModelPackage:
    """Approve ``GROUP/VERSION``, when its files are still those that were proven; ``alias`` means it from then on.

    Raises
    ------
    ModelError
        When there is none, or its files were changed.
    """
    return decide(version, APPROVED, why, alias=alias)


def reject(version: str, *, why: str | None = None) -> ModelPackage:
    """Reject ``GROUP/VERSION``; its aliases are taken away.

    Raises
    ------
    ModelError
        When there is none.
    """
    return decide(version, REJECTED, why)


def export(model: PathLike, to: str, output: PathLike, *, pictures: PathLike | None = None) -> Export:
    """Write a model in another form, proven to say the same.

    Parameters
    ----------
    model:
        A job, a model folder, an archive, or ``models:/GROUP@ALIAS``.
    to:
        ``onnx``, ``openvino``, ``int8``, ``timm`` or ``sagemaker``.
    output:
        A folder that is not there yet.

    Raises
    ------
    VizslaError
        When it says something else, or for anything that cannot be meant.

    Examples
    --------
    >>> vizsla.export("runs/fit-photos", "onnx", "exported").files  # doctest: +SKIP
    [PosixPath('exported/model.onnx'), PosixPath('exported/README.txt')]
    """
    return export_model(os.fspath(model), to, Path(output), pictures=None if pictures is None else os.fspath(pictures))
