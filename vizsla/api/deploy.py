"""``vizsla.deploy``: an endpoint that goes on without this process."""

from __future__ import annotations

import os

from vizsla.api.inputs import PathLike
from vizsla.serving.endpoint_config import DataCapture
from vizsla.workflow.background_endpoint import BackgroundEndpoint
from vizsla.workflow.endpoints import create


def deploy(
    name: str,
    *variants: PathLike,
    models_dir: PathLike | None = None,
    port: int | None = None,
    capture_percent: float | None = None,
    capture_mb: float = 1000,
    memory_mb: int = 4000,
    allow_code: bool = False,
) -> BackgroundEndpoint:
    """Create an endpoint whose server runs in the background; returns when it is in service.

    Parameters
    ----------
    variants:
        ``MODEL``, ``NAME=MODEL`` or ``NAME=MODEL:WEIGHT``; a model is what :func:`fit` returned, a path, a job's name
        or ``models:/GROUP@ALIAS``, which is followed.
    models_dir:
        Instead a folder, or ``s3://`` prefix, of models that requests name.
    capture_percent, capture_mb:
        The share of the requests that is kept, and the most that all of it takes on the disk.

    Raises
    ------
    VizslaError
        When the name is in use, the port is taken, or a model cannot be served: there is no endpoint then.

    Examples
    --------
    >>> endpoint = vizsla.deploy("flowers", "models:/flowers@champion")  # doctest: +SKIP
    >>> endpoint.invoke("rose.jpg")  # doctest: +SKIP
    {'predictions': [{'label': 'rose', 'probability': 0.98}]}
    >>> endpoint.update("runs/fit-photos-2", canary_percent=10)  # doctest: +SKIP
    >>> endpoint.delete()  # doctest: +SKIP
    """
    folder = create(
        name,
        [os.fspath(variant) for variant in variants],
        models_dir=None if models_dir is None else os.fspath(models_dir),
        port=port,
        capture=DataCapture.of(capture_percent, capture_mb),
        memory_mb=memory_mb,
        allow_code=allow_code,
    )
    return BackgroundEndpoint(folder)
