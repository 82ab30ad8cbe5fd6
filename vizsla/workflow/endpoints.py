"""Endpoints in the background: created, changed, asked, deleted."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vizsla.errors import StorageError, UsageError, VizslaError
from vizsla.files import storage
from vizsla.jobs.processes import Process
from vizsla.parameters import spelled
from vizsla.registry.package import SCHEME, Reference
from vizsla.serving import check_installed
from vizsla.serving.endpoint_config import ALL_TRAFFIC, DataCapture, EndpointConfig, Routing, Variant
from vizsla.serving.endpoint_folder import STOPPED, EndpointFolder, endpoints_folder
from vizsla.serving.registered import approved
from vizsla.version import python_path
from vizsla.workflow.models import locate_model

KEEPER = "vizsla.serving.endpoint_keeper"
"""The module that keeps an endpoint's server running."""
_VARIANT = re.compile(r"(?:(?P<name>[a-zA-Z0-9][a-zA-Z0-9-]*)=)?(?P<model>.+?)(?::(?P<weight>\d+(?:\.\d+)?))?")
_START_SECONDS, _END_SECONDS = 240.0, 40.0


def read_variants(texts: Sequence[str]) -> list[Variant]:
    """Variants from ``MODEL``, ``NAME=MODEL`` or ``NAME=MODEL:WEIGHT``.

    Raises
    ------
    VizslaError
        When one cannot be read, or there is no such model.
    """
    found = []
    for text in texts:
        match = _VARIANT.fullmatch(text)
        if match is None:
            raise UsageError(
                "A variant has no model.", parameter="variant", allowed="MODEL, NAME=MODEL, NAME=MODEL:WEIGHT"
            )
        found.append(
            Variant(
                variant_name=match["name"] or ALL_TRAFFIC,
                model_name=_model(match["model"]),
                initial_variant_weight=float(match["weight"] or 1),
            )
        )
    return found


def _model(name: str) -> str:
    """A model as the server will find it."""
    if name.startswith(SCHEME):
        approved(Reference.parse(name))
        return name
    return name if name.startswith("s3://") else str(locate_model(name))


def create(
    name: str,
    variants: Sequence[str | Variant] = (),
    *,
    models_dir: str | None = None,
    port: int | None = None,
    capture: DataCapture | None = None,
    allow_code: bool = False,
    memory_mb: int = 4000,
    environment: Mapping[str, str] | None = None,
) -> EndpointFolder:
    """Create an endpoint and start its server; returns when it is in service.

    Parameters
    ----------
    variants:
        See :func:`read_variants`.
    models_dir:
        Instead of them a folder, or ``s3://`` prefix, of models that requests name.
    port:
        By default one that is free; it is kept.
    capture:
        What is kept of requests and answers; by default nothing.
    environment:
        Variables of the server beside this process's own, such as SAGEMAKER_PROGRAM for the models' own code.

    Raises
    ------
    VizslaError
        When the name is in use, the port is taken, or the server cannot be started: there is no endpoint then.
    """
    check_installed()
    if bool(variants) == (models_dir is not None):
        raise UsageError(
            f"Name models, or {spelled('models_dir')}: one of both.", do="vizsla endpoints create NAME MODEL"
        )
    place = endpoints_folder() / name
    document: dict[str, Any] = {
        "EndpointName": name,
        "ProductionVariants": _documents(variants, models_dir),
        "Port": _port(port),
        "AllowCode": allow_code,
        "MemoryMb": memory_mb,
        "DataCaptureConfig": None if capture is None else capture.to_dict(),
        "Environment": dict(environment or {}) or None,
    }
    config = EndpointConfig.read(document)
    with storage(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.mkdir()
        except FileExistsError:
            raise UsageError(
                f"There is an endpoint named {name!r} already.",
                where=place,
                do=f"`vizsla endpoints update {name} ...` changes it; `vizsla endpoints delete {name}` ends it",
            ) from None
    folder = EndpointFolder(place)
    try:
        folder.write_config(config)
        start(folder)
    except BaseException:
        _end(folder)
        shutil.rmtree(place, ignore_errors=True)
        raise
    return folder


def _documents(variants: Sequence[str | Variant], models_dir: str | None) -> list[dict[str, Any]]:
    if models_dir is not None:
        return [{"ModelName": _folder(models_dir), "Mode": "MultiModel"}]
    return [variant.to_dict() for variant in _read(variants)]


def _read(variants: Sequence[str | Variant]) -> list[Variant]:
    read: list[Variant] = []
    for variant in variants:
        read += read_variants([variant]) if isinstance(variant, str) else [variant]
    return read


def _folder(models_dir: str) -> str:
    if models_dir.startswith("s3://"):
        return models_dir
    path = Path(models_dir).expanduser().absolute()
    if not path.is_dir():
        raise UsageError("There is no such folder of models.", where=path, allowed="a folder, or s3://bucket/prefix")
    return str(path)


def _port(asked: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", asked or 0))
        except OSError as error:
            raise UsageError(
                f"The port {asked} is taken.",
                parameter="port",
                do="choose another, or leave it out for one that is free",
            ) from error
        return int(probe.getsockname()[1])


def start(folder: EndpointFolder) -> None:
    """Start the server of an endpoint, and wait until it is in service.

    Raises
    ------
    VizslaError
        With the server's own words, when it cannot be started.
    """
    if folder.is_kept:
        return
    with open(folder.log, "ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", KEEPER, str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ
            | (folder.config().environment or {})
            | {
                "PYTHONPATH": python_path(os.environ.get("PYTHONPATH")),
                "VIZSLA_HOME": str(folder.path.parents[1]),  # where the registry is, too
            },
        )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        has_ended = started.poll() is not None
        if folder.status() == STOPPED:
            if has_ended:
                raise VizslaError(
                    f"The endpoint {folder.name} cannot be served, as its keeper has ended: {_last_words(folder)}",
                    where=folder.log,
                )
            time.sleep(0.05)
            continue
        keeper, state = folder.keeper(), folder.state()
        if Process.of(int(keeper.get("keeper") or 0)).alive:  # and not what an earlier one has told
            if keeper.get("failures"):
                _end(folder)
                raise VizslaError(
                    f"The endpoint {folder.name} cannot be served: {_last_words(folder)}", where=folder.log
                )
            if state.get("pid") == keeper.get("server") is not None and folder.status() in ("InService", "Updating"):
                return
        time.sleep(0.05)
    raise VizslaError(f"The endpoint {folder.name} was not in service in time.", where=folder.log)


def _last_words(folder: EndpointFolder) -> str:
    if reason := folder.state().get("reason"):
        return str(reason)
    with contextlib.suppress(OSError):
        return folder.log.read_text(errors="replace").strip().splitlines()[-1][:500]
    return "it said nothing"


def _end(folder: EndpointFolder) -> None:
    """End the keeper and the server; and the next keeper, where one has waited for the first one's lock."""
    deadline = time.monotonic() + _END_SECONDS
    while folder.is_kept and time.monotonic() < deadline:
        if pid := folder.keeper().get("keeper"):
            Process.of(int(pid)).signal(signal.SIGTERM)
        time.sleep(0.1)
    if folder.is_kept:
        raise StorageError(f"The endpoint {folder.name} does not end.", where=folder.path)


def stop(folder: EndpointFolder) -> None:
    """End the server; :func:`start` brings it back."""
    _end(folder)


def delete(folder: EndpointFolder) -> None:
    """End an endpoint and remove its files, what was captured too."""
    _end(folder)
    with storage(folder.path):
        shutil.rmtree(folder.path)


def replace(
    folder: EndpointFolder,
    variants: Sequence[str | Variant] = (),
    *,
    models_dir: str | None = None,
    capture: DataCapture | None = None,
    environment: Mapping[str, str] | None = None,
    routing: Routing | None = None,
) -> None:
    """Let an endpoint be as one that is created with these. Where variants alone differ it is :func:`update`, without
    a failed request; what else differs needs another server process, and no request is answered meanwhile.

    Raises
    ------
    VizslaError
        As :func:`update` and :func:`start`.
    """
    config = folder.config()
    asked = {
        "ProductionVariants": _documents(variants, models_dir),
        "DataCaptureConfig": None if capture is None else capture.to_dict(),
        "Environment": dict(environment or {}) or None,
    }
    wanted = EndpointConfig.read(config.to_dict() | {name: value for name, value in asked.items() if value is not None})
    wanted = wanted.model_copy(update={"environment": asked["Environment"], "data_capture_config": capture})
    same_models = wanted.production_variants == config.production_variants
    if wanted.model_copy(update={"production_variants": config.production_variants}) == config:
        if not same_models:
            update(folder, wanted.production_variants, routing=routing)
        return
    stop(folder)
    with folder.changing():
        folder.write_config(wanted)
    start(folder)


def update(
    folder: EndpointFolder,
    variants: Sequence[str | Variant] = (),
    *,
    weights: dict[str, float] | None = None,
    routing: Routing | None = None,
) -> EndpointConfig:
    """Change what an endpoint serves, without a failed request: the new models are loaded before they are asked.

    Parameters
    ----------
    variants:
        The new ones; by default those that there are.
    weights:
        New weights by variant.
    routing:
        How the new ones take over; by default at once.

    Raises
    ------
    UsageError
        When there is nothing to change, a change is under way, or a variant is not there.
    """
    with folder.changing():
        config = folder.config()
        if config.previous is not None:
            raise UsageError(
                f"The endpoint {folder.name} is just being changed.",
                do=f"`vizsla endpoints show {folder.name}` tells how far it is",
            )
        if config.is_multi_model:
            raise UsageError(
                "An endpoint of many models has no variants to change.",
                do="put models into its folder, or take them out",
            )
        chosen = _read(variants) if variants else list(config.production_variants)
        for name, weight in (weights or {}).items():
            if name not in (names := [variant.variant_name for variant in chosen]):
                raise UsageError(f"There is no variant {name!r}.", parameter="weight", allowed=", ".join(names))
            chosen = [
                v.model_copy(update={"initial_variant_weight": weight}) if v.variant_name == name else v for v in chosen
            ]
        if chosen == config.production_variants:
            raise UsageError("Nothing would change.", do="name other variants, or weights")
        changed = config.to_dict() | {
            "ProductionVariants": [variant.to_dict() for variant in chosen],
            "Previous": [variant.to_dict() for variant in config.production_variants],
            "Generation": config.generation + 1,
            "Routing": (routing or Routing()).to_dict(),
        }
        config = EndpointConfig.read(changed)
        folder.write_config(config)
    return config


def described(folder: EndpointFolder) -> dict[str, Any]:
    """Plain JSON: what it is, how it is."""
    config, state, keeper = folder.config(), folder.state(), folder.keeper()
    return {
        "name": folder.name,
        "status": folder.status(),
        "url": f"http://{config.host}:{config.port}",
        "variants": state.get("variants") or [variant.to_dict() for variant in config.production_variants],
        "config": config.to_dict(),
        "deployment": state.get("deployment"),
        "starts": keeper.get("starts", 0),
        "pid": keeper.get("server"),
        "capture": str(folder.capture) if config.data_capture_config else None,
        "directory": str(folder.path),
    }


def every() -> list[EndpointFolder]:
    """All endpoints, by name."""
    return [EndpointFolder(path.parent) for path in sorted(endpoints_folder().glob("*/config.json"))]
