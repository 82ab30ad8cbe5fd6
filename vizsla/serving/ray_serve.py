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
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from vizsla.cluster import NAMESPACE, ON_HEAD, connect, nodes, own_error, shared_variables
from vizsla.errors import JobError, UsageError
from vizsla.serving.faults import RequestError
from vizsla.serving.named_model import named_model
from vizsla.serving.ray_node import Offered, rehearse, with_models, without_models
from vizsla.serving.server import ServeOptions, Server
from vizsla.serving.shelves import Shelf
from vizsla.settings import settings

APPLICATION = "vizsla"
_RECORD = "served-by"
_START_SECONDS = 600.0
_LOOK_SECONDS = 0.2
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
    offered: Offered,
    options: ServeOptions,
    replicas: Replicas,
    on_start: Callable[[str], object] = lambda address: None,
    until: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or ``until``; the replicas end then, unless others were put in their place.

    Parameters
    ----------
    offered:
        Every node must see it.
    options:
        For each replica; its ``host`` and ``port`` are those of Ray's proxy.
    on_start:
        Is told where that listens, in words.

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
    models, folder = offered
    offered = [_everywhere(model) for model in models], None if folder is None else _everywhere(folder)
    over = until or threading.Event()
    from vizsla.serving.ray_place import place_of

    before, mine = _is_served(), uuid.uuid4().hex
    with _ending(over):
        try:
            deploy(offered, options, replicas, over)
            if not over.is_set():
                ray.get(_record(ray).put.remote(mine))
                on_start(place_of(ray, options))
            elif not before:  # an update that was broken off leaves what was served
                _withdraw()
        except BaseException:
            if not before:
                _withdraw()
            raise
        over.wait()
        if _is_served() and ray.get(_record(ray).get.remote()) == mine:
            _withdraw()


@contextlib.contextmanager
def _ending(over: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set it in the block; only the main thread can be told so."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _withdraw() -> None:
    """Serve no longer."""
    from ray import serve

    if not _is_served():
        return
    serve.delete(APPLICATION)
    if not serve.status().applications:  # its proxy listens at the port of whoever came first, until it ends
        serve.shutdown()


def deploy(offered: Offered, options: ServeOptions, replicas: Replicas, over: threading.Event | None = None) -> None:
    """Let the cluster that this process is connected to serve these models, in place of what it has served, once its
    nodes have tried them.

    Parameters
    ----------
    over:
        Ends the wait for the replicas.

    Raises
    ------
    JobError
        When no replica can start, or Ray Serve runs there already and listens elsewhere.
    VizslaError
        When a node cannot serve them.
    """
    import ray
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    from vizsla.serving.ray_place import start
    from vizsla.serving.ray_router import ModelRouter

    over, variables = over or threading.Event(), _variables()
    rehearse(ray, offered, options, replicas.cpus, variables)
    if over.is_set():
        return
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    more = {}
    if "controller_options" in inspect.signature(serve.start).parameters:  # Ray's later versions
        more["controller_options"] = {"runtime_env": {"env_vars": _QUICK}}
    start(ray, options, logging_config={"enable_access_log": False}, **more)
    replica = serve.deployment(
        name="server",
        ray_actor_options={"num_cpus": replicas.cpus, "runtime_env": {"env_vars": variables}},
        max_ongoing_requests=_MOST_WAITING * replicas.cpus,
        request_router_config=RequestRouterConfig(request_router_class=ModelRouter),
        autoscaling_config={
            "min_replicas": replicas.least,
            "max_replicas": replicas.most,
            "target_ongoing_requests": _WAITING * replicas.cpus,
        },
    )(serve.ingress(_builder(offered, options, replicas.cpus))(_Replica))
    _run(replica.bind(), over)


def _variables() -> dict[str, str]:
    """The settings of this process that hold for replicas: what they fetch they keep in caches of their nodes."""
    now, found = settings(), shared_variables()
    if now.cache_bucket is None:
        found.pop("VIZSLA_CACHE", None)
    return found | {"VIZSLA_HOME": now.bucket or str(now.home.absolute())}  # a registry without a server lies there


def _run(application: Any, over: threading.Event) -> None:
    """Wait until it runs, in a thread of its own: Ray Serve waits for ever where there is no room."""
    from ray import serve

    failures: list[Exception] = []

    def run() -> None:
        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except Exception as error:  # noqa: BLE001 - it is told below
            failures.append(error)

    thread, end = threading.Thread(target=run, daemon=True), time.monotonic() + _START_SECONDS
    thread.start()
    while thread.is_alive() and not over.is_set() and time.monotonic() < end:
        thread.join(_LOOK_SECONDS)
    if over.is_set() or not (failures or thread.is_alive()):
        return
    if (own := own_error(_messages())) is not None:
        raise own
    if failures:
        lines = [line for line in str(failures[0]).splitlines() if line.strip()] or [type(failures[0]).__name__]
        raise JobError(
            f"The replicas could not start: {lines[-1].strip()}", do="`serve status` tells more"
        ) from failures[0]
    raise JobError(
        f"The replicas have not started for {_START_SECONDS:g} s. {_messages()}".strip(),
        do="let jobs that take the cores end, add a node, or ask for fewer replicas",
    )


def _messages() -> str:
    """What Ray Serve says of the replicas."""
    from ray import serve

    told = serve.status().applications.get(APPLICATION)
    return "" if told is None else "\n".join(one.message for one in told.deployments.values())


def _is_served() -> bool:
    """Whether the cluster serves ours, whoever has begun that."""
    from ray import exceptions, serve

    try:
        return APPLICATION in serve.status().applications
    except exceptions.RayActorError:  # somebody has shut it down since this process asked last
        return False


def _record(ray: ModuleType) -> Any:
    """The cluster's record of who serves."""
    named = {"name": _RECORD, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return ray.remote(_Record).options(**named, **ON_HEAD).remote()


class _Record:
    """In the cluster: a name of the command that served last. One that failed is not written."""

    def __init__(self) -> None:
        self._name = ""

    def put(self, name: str) -> None:
        self._name = name

    def get(self) -> str:
        return self._name


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


def _builder(offered: Offered, options: ServeOptions, cpus: int) -> Callable[[], Any]:
    """Makes the application where the replica runs."""
    sent = without_models(options)

    def build() -> Any:
        there = with_models(sent, offered)
        return HeldModels(Server(there, replace(settings(), threads=cpus)).app, there.shelf)

    return build
