"""Our application on Ray Serve: replicas on the nodes of a cluster, as many as the requests under way ask for.

Each replica is the whole server but for its socket: decoding and the engine run in it. Ray's proxy hands it requests.
Serving another model under the same name is a rolling update: new replicas load before old ones end.
"""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vizsla.cluster import connect, nodes
from vizsla.errors import JobError, UsageError
from vizsla.serving.offer import Offer
from vizsla.serving.server import ServeOptions, Server
from vizsla.settings import settings

APPLICATION = "vizsla"
_START_SECONDS = 600.0
_WAITING = 4
"""Requests that a replica takes for each of its cores before another replica is wanted."""
_MOST_WAITING = 64


@dataclass(frozen=True)
class Replicas:
    """How many servers there are: between ``least`` and ``most``, each with ``cpus`` cores."""

    least: int = 1
    most: int = 1
    cpus: int = 1

    @classmethod
    def parse(cls, text: str) -> Replicas:
        """``2``, or ``2..8``.

        Raises
        ------
        UsageError
            For anything else.
        """
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text.strip())
        least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < least <= most:
            raise UsageError(f"{text!r} is no number of replicas.", parameter="replicas", allowed="such as 2, or 2..8")
        return cls(least, most)


def serve_on_ray(
    executor: str,
    offer: tuple[list[str], str | None],
    options: ServeOptions,
    replicas: Replicas,
    on_start: Callable[[str], object] = lambda address: None,
    until: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or ``until``; the replicas end then.

    Parameters
    ----------
    offer:
        The models and the folder of models, as :meth:`vizsla.serving.offer.Offer.of` takes them; every node must see
        them.
    options:
        For each replica; its ``host`` and ``port`` are those of Ray's proxy.

    Raises
    ------
    VizslaError
        When there is no way to the cluster, no room for a replica, or a replica cannot start.
    """
    ray = connect(executor if "://" in executor else None)
    if max((node.cpus for node in nodes(ray)), default=0) < replicas.cpus:
        raise JobError(
            f"No node of the cluster has {replicas.cpus} CPUs for a replica.",
            allowed="; ".join(map(str, nodes(ray)[:8])) or "there is no node",
        )
    models, folder = offer
    offer = [_everywhere(model) for model in models], None if folder is None else _everywhere(folder)
    over = until or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: over.set())
    deploy(offer, options, replicas)
    on_start(f"http://{options.host}:{options.port}")
    over.wait()
    from ray import serve

    serve.delete(APPLICATION)


def deploy(offer: tuple[list[str], str | None], options: ServeOptions, replicas: Replicas) -> None:
    """Let the cluster that this process is connected to serve these models, in place of what it has served.

    Raises
    ------
    JobError
        When no replica can start.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": options.host, "port": options.port})
    replica = serve.deployment(
        name="server",
        ray_actor_options={"num_cpus": replicas.cpus},
        max_ongoing_requests=_MOST_WAITING * replicas.cpus,
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": _WAITING * replicas.cpus,
        },
    )(serve.ingress(_builder(offer, options, replicas.cpus))(_Replica))
    try:
        serve.run(replica.bind(), name=APPLICATION, route_prefix="/")
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise JobError(f"The replicas could not start: {lines[-1].strip()}", do="`serve status` tells more") from error


def _everywhere(place: str) -> str:
    """The same from whatever folder a process runs in."""
    return place if ":/" in place else str(Path(place).absolute())


class _Replica:
    """What Ray Serve makes an actor of."""


def _builder(offer: tuple[list[str], str | None], options: ServeOptions, cpus: int) -> Callable[[], Any]:
    """Makes the application where the replica runs: the shelf and the socket are that machine's."""
    plain = replace(options, shelf=None, pinned=())  # type: ignore[arg-type]

    def build() -> Any:
        now = settings()
        there = Offer.of(*offer, now.cache)
        return Server(replace(plain, shelf=there.shelf, pinned=there.pinned), replace(now, threads=cpus)).app

    return build
