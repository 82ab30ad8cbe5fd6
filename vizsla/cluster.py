"""A Ray cluster as one connects to it: the one at an address, that of this machine, or a new one here.

Ray is an optional package: it is imported when somebody asks for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from vizsla.errors import JobError, UsageError, VizslaError, of_kind
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.settings import settings

NAMESPACE = "vizsla"
"""Of the actors that Vizsla names."""
ON_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Options of an actor that lives as long as the cluster, and takes no core."""
_ADDRESS = "RAY_ADDRESS"
_CLIENT = "ray://"
_CLIENT_TRIES = 3
_KNOCK_SECONDS = 5.0
_SILENT_SECONDS = 60.0
"""How long a host that was silent is not knocked at again: a list of jobs asks for each."""
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
    "VIZSLA_TRACKING",
)
_own = False
_silent_until: dict[str, float] = {}
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
_OWN_ERROR = re.compile(r"\bvizsla(?:\.\w+)+\.(\w+Error): (.+)")
_OWN_FIELD = re.compile(r"  (where|allowed|do): (.+)")


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
    named, address = address, address or os.environ.get(_ADDRESS) or None
    if address is None or address in ("auto", "local"):
        return None
    if re.fullmatch(r"(ray://)?(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}", address):
        return address
    raise UsageError(
        f"There can be no Ray cluster at {address!r:.200}.",
        where=None if named else f"environment variable {_ADDRESS}",
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
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        try:
            _init(ray, address or "auto", options)
        except ConnectionError:
            if address is not None:
                raise
            if not start:
                raise JobError("No Ray runs on this machine.", do="`ray start --head`, or set RAY_ADDRESS") from None
            ray.init(address="local", include_dashboard=False, **options)
            _own = True
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _in_words(ray, error, address) from error
    return ray


def _init(ray: ModuleType, address: str, options: dict[str, Any]) -> None:
    """Connect; again, where the process that Ray forks for a client has died of the fork (ray-project/ray#63202)."""
    for _ in range(_CLIENT_TRIES - 1):
        with contextlib.suppress(ConnectionAbortedError):
            ray.init(address=address, **options)
            return
    ray.init(address=address, **options)


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


def cores(ray: ModuleType) -> int:
    """CPUs of all machines together.

    Raises
    ------
    JobError
        When none has any: what is asked of it would wait for ever.
    """
    there = nodes(ray)
    if count := sum(node.cpus for node in there):
        return count
    raise JobError(
        "No node of the Ray cluster has a CPU for work.",
        allowed="; ".join(map(str, there[:8])) or "there is no node",
        do="add a node (`ray start --address=HOST:6379` on it), or wait until one is up",
    )


def head(ray: ModuleType) -> tuple[str, str]:
    """Name and address of the machine on which the cluster is started."""
    found = next(node for node in ray.nodes() if "node:__internal_head__" in node["Resources"])
    return str(found["NodeManagerHostname"]), str(found["NodeManagerAddress"])


@contextlib.contextmanager
def told(ray: ModuleType, what: str, do: str = "`ray status` tells of its nodes") -> Iterator[None]:
    """Turn what Ray tells of work on its nodes into words.

    Raises
    ------
    VizslaError
        The one that was raised on a node.
    JobError
        Otherwise; it begins with ``what``.
    """
    full = ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError
    try:
        yield
    except ray.exceptions.RayError as error:
        if (own := own_error(str(error))) is not None:
            raise own from error
        said = str(error).strip().splitlines() or [type(error).__name__]
        if isinstance(error, full) or any(kind.__name__ in line for kind in full for line in said):
            raise JobError(
                f"{what}: Ray's object store is full, and so is the disk that it spills to.",
                do="free that disk (below /tmp/ray of the node), or start the nodes with a larger store "
                "(`ray start --object-store-memory=BYTES`)",
            ) from error
        raise JobError(f"{what}: {said[-1]}", do=do) from error


def own_error(text: str) -> VizslaError | None:
    """The error of ours that is the last one in what Ray shows of a traceback; None where there is none."""
    lines = text.splitlines()
    found = [(at, match) for at, line in enumerate(lines) if (match := _OWN_ERROR.search(line))]
    if not found:
        return None
    at, error = found[-1]
    fields: dict[str, str] = {}
    for line in lines[at + 1 :]:
        if (field := _OWN_FIELD.fullmatch(line)) is None:
            break
        fields[field[1]] = field[2]
    with contextlib.suppress(KeyError, TypeError):  # of one whose words are made otherwise
        return of_kind(error[1])(error[2], **fields)
    return JobError(error[2], **fields)


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
        if time.monotonic() < _silent_until.get(address, 0.0):
            raise TimeoutError("timed out")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
        except TimeoutError:
            _silent_until[address] = time.monotonic() + _SILENT_SECONDS
            raise
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
    do = "`ray status` tells whether it is up"
    if address is not None and isinstance(error, ConnectionError):  # somebody listens there, and does not let us in
        do += (
            "; where it wants a token (what `ray start` asks for from Ray 2.59 on), set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN where ~/.ray/auth_token does not hold it"
        )
    if type(error).__name__ == "AuthenticationError":  # of Ray's later versions
        do = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, which whoever runs the cluster knows"
    words = said[-1] if said[0].endswith(":") else said[0]  # a heading of what its server shows
    return JobError(f"There is no way to the Ray cluster at {place}: {words}", do=do)
