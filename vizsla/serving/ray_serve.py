"""Our application on Ray Serve: replicas on the nodes of a cluster, as many as the requests under way ask for.

Each replica is the whole server but for its socket: decoding and the engine run in it. Ray's proxy hands it requests;
those that name a model go to the replicas that have it already.
Serving another model under the same name is a rolling update: new replicas load before old ones end.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from vizsla.cluster import connect, nodes
from vizsla.errors import JobError, UsageError
from vizsla.serving.faults import RequestError
from vizsla.serving.named_model import named_model
from vizsla.serving.offer import Offer
from vizsla.serving.server import ServeOptions, Server
from vizsla.serving.shelves import Shelf
from vizsla.settings import settings

APPLICATION = "vizsla"
_START_SECONDS = 600.0
_WAITING = 4
"""Requests that a replica takes for each of its cores before another replica is wanted."""
_MOST_WAITING = 64
_MODELS = 256
"""Models a replica tells Ray that it has."""
_QUICK = {
    "RAY_SERVE_PROXY_USE_GRPC": "1",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
}
"""Ray Serve's own switches for many requests (its RAY_SERVE_THROUGHPUT_OPTIMIZED without HAProxy): the server's work is
on threads of its own anyway. Proxies and replicas have the controller's."""


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
    if not serve.status().applications:  # its proxy listens at the port of whoever came first, until it ends
        serve.shutdown()


def deploy(offer: tuple[list[str], str | None], options: ServeOptions, replicas: Replicas) -> None:
    """Let the cluster that this process is connected to serve these models, in place of what it has served.

    Raises
    ------
    JobError
        When no replica can start.
    """
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    from vizsla.serving.ray_router import ModelRouter

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    more = {}
    if "controller_options" in inspect.signature(serve.start).parameters:  # Ray's later versions
        more["controller_options"] = {"runtime_env": {"env_vars": _QUICK}}
    serve.start(
        http_options={"host": options.host, "port": options.port}, logging_config={"enable_access_log": False}, **more
    )
    replica = serve.deployment(
        name="server",
        ray_actor_options={"num_cpus": replicas.cpus},
        max_ongoing_requests=_MOST_WAITING * replicas.cpus,
        request_router_config=RequestRouterConfig(request_router_class=ModelRouter),
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


class HeldModels:
    """In a replica: tells Ray's router which models were asked for here, so that the next requests for them come here,
    too. The pool of the server loads them, and ends them when memory is short."""

    def __init__(self, app: ASGIApp, shelf: Shelf) -> None:
        from ray import serve

        async def found(name: str) -> str:
            return await asyncio.to_thread(shelf.artifact, name)

        self._app = app
        self._tell = serve.multiplexed(max_num_models_per_replica=_MODELS)(found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if scope["type"] == "http" and (name := named_model(scope)):
            with contextlib.suppress(RequestError):  # of a model that there is not: the server says so
                await self._tell(name)
        await self._app(scope, receive, send)


class _Replica:
    """What Ray Serve makes an actor of."""


def _builder(offer: tuple[list[str], str | None], options: ServeOptions, cpus: int) -> Callable[[], Any]:
    """Makes the application where the replica runs: the shelf and the socket are that machine's."""
    plain = replace(options, shelf=None, pinned=())  # type: ignore[arg-type]

    def build() -> Any:
        now = settings()
        there = Offer.of(*offer, now.cache)
        server = Server(replace(plain, shelf=there.shelf, pinned=there.pinned), replace(now, threads=cpus))
        return HeldModels(server.app, there.shelf)

    return build
