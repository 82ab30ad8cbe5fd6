"""A Ray cluster as one connects to it: the one at an address, that of this machine, or a new one here.

Ray is an optional package: it is imported when somebody asks for it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vizsla.errors import JobError, UsageError
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.settings import settings

NAMESPACE = "vizsla"
"""Of the actors that Vizsla names."""
_ADDRESS = "RAY_ADDRESS"
_CLIENT = "ray://"
_KNOCK_SECONDS = 5.0
_SHARED = (
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "VIZSLA_ALLOW_CODE",
    "VIZSLA_CACHE",
    "VIZSLA_CACHE_GB",
    "VIZSLA_DECODE_SECONDS",
    "VIZSLA_MAX_IMAGE_MB",
    "VIZSLA_MAX_MEGAPIXELS",
    "VIZSLA_PROFILER",
)
_own = False
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")


@dataclass(frozen=True)
class Node:
    """A machine of the cluster. ``memory`` in bytes."""

    name: str
    cpus: int
    gpus: int
    memory: int

    def holds(self, cpus: int, gpus: int, memory: int) -> bool:
        """Whether so much fits when nothing else runs."""
        return cpus <= self.cpus and gpus <= self.gpus and memory <= self.memory

    def __str__(self) -> str:
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return f"{self.name} has {self.cpus} CPUs{gpus} and {self.memory / 1e9:.1f} GB"


def address_of(address: str | None) -> str | None:
    """Where the cluster is looked for: ``address``, else what RAY_ADDRESS says; None for that of this machine.

    Raises
    ------
    UsageError
        When it is no address.
    """
    address = address or os.environ.get(_ADDRESS) or None
    if address is None or address in ("auto", "local"):
        return None
    if re.fullmatch(r"(ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}", address):
        return address
    raise UsageError(
        f"There can be no Ray cluster at {address!r:.200}.",
        parameter="executor",
        allowed="ray://HOST:PORT (10001 is Ray's own choice); or ray, with RAY_ADDRESS=HOST:PORT or without",
    )


def connect(address: str | None = None, *, start: bool = True) -> ModuleType:
    """Ray, connected: to the cluster at ``address``, to the one that runs on this machine, or to a new one here, which
    ends with this process. A process that is connected already stays so.

    Parameters
    ----------
    start:
        Whether one may be started.

    Raises
    ------
    MissingExtraError
        When Ray is not installed.
    JobError
        When there is no cluster, or it is of another version.
    """
    global _own
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray", feature=spelled("executor", "ray"))
    if ray.is_initialized():
        return ray
    address = address_of(address)
    if address is not None:
        _knock(address)
    options = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        try:
            ray.init(address=address or "auto", **options)
        except ConnectionError:
            if address is not None:
                raise
            if not start:
                raise JobError("No Ray runs on this machine.", do="`ray start --head`, or set RAY_ADDRESS") from None
            ray.init(address="local", include_dashboard=False, **options)
            _own = True
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _in_words(ray, error, address) from error
    return ray


def is_own() -> bool:
    """Whether the cluster is one that this process has started, and that ends with it."""
    return _own


def is_client(ray: ModuleType) -> bool:
    """Whether this process is outside the cluster, and connected through Ray's client."""
    return bool(ray.util.client.ray.is_connected())


def nodes(ray: ModuleType) -> list[Node]:
    """The machines that are there now, the largest first."""
    found = [
        Node(
            name=str(node["NodeManagerHostname"]),
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            memory=int(node["Resources"].get("memory", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(found, key=lambda node: (node.gpus, node.cpus, node.memory), reverse=True)


def actor_pool(size: int) -> Any:
    """So many actors for work of Ray Data: all are asked for at once, and it begins with the first that has room."""
    from ray import data

    return data.ActorPoolStrategy(min_size=1, initial_size=size, max_size=size)


def shared_variables() -> dict[str, str]:
    """The settings of this process that hold for its work on other machines, too: no keys, and no share of this one."""
    found = {name: os.environ[name] for name in _SHARED if name in os.environ}
    if "VIZSLA_CACHE" in found:
        found["VIZSLA_CACHE"] = settings().cache_address
    return found


def _knock(address: str) -> None:
    """That somebody listens there: Ray itself tries for half a minute."""
    host, _, port = address.removeprefix(_CLIENT).rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise JobError(
            f"There is no Ray cluster at {address}: {error}.",
            where=f"environment variable {_ADDRESS}" if os.environ.get(_ADDRESS) == address else None,
            parameter="executor",
            do="start one by `ray start --head`, or correct the address",
        ) from error


def _in_words(ray: Any, error: Exception, address: str | None) -> JobError:
    place = address or "this machine"
    versions = _VERSIONS.findall(str(error))
    if len(versions) == 2:
        theirs, ours = (f"Ray {ray_version} on Python {python}" for ray_version, python in versions)
        return JobError(
            f"The cluster at {place} runs {theirs}; here it is {ours}.",
            do="install the versions of the cluster here, or ours on all of its nodes",
        )
    said = str(error).strip().splitlines() or [type(error).__name__]
    return JobError(
        f"There is no way to the Ray cluster at {place}: {said[0]}", do="`ray status` tells whether it is up"
    )
