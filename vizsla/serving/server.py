"""Puts the server together and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import socket
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

import uvicorn
from starlette.routing import Router

from vizsla.errors import UsageError
from vizsla.images import Limits
from vizsla.parameters import spelled
from vizsla.serving.access import Access
from vizsla.serving.backbones import Backbones
from vizsla.serving.capture import Capture
from vizsla.serving.code_folder import remove_abandoned
from vizsla.serving.connection import PatientConnection
from vizsla.serving.contract import Container, Runtime
from vizsla.serving.door import Door
from vizsla.serving.entry import entry_script
from vizsla.serving.faults import RequestError
from vizsla.serving.fetch import Fetcher, refuse_urls
from vizsla.serving.memory import give_memory_back
from vizsla.serving.page import Page
from vizsla.serving.pool import Pool
from vizsla.serving.promotion import follow
from vizsla.serving.registered import RegisteredShelf
from vizsla.serving.service import Service
from vizsla.serving.shelves import Shelf
from vizsla.serving.telemetry import Telemetry
from vizsla.serving.traffic import Traffic
from vizsla.serving.workers import Workers
from vizsla.settings import Settings

DRAIN_SECONDS = 25.0
"""Time for the requests in flight after SIGTERM; SageMaker kills 30 s after it."""

_TIDY_SECONDS = 1.0
_BACKLOG = 2048


@dataclass(frozen=True)
class ServeOptions:
    """What the server is told. ``default`` names the model that is loaded at the start and answers requests that
    name none; ``pinned`` all that are loaded at the start; sizes are in bytes. ``port`` 0 is any that is free. Without
    ``log``, errors alone are told."""

    shelf: Shelf
    pinned: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    endpoint_name: str | None = None
    memory: int = 4_000_000_000
    max_payload: int = 25_000_000
    allow_code: bool = False
    allow_urls: bool = False
    log_requests: bool = True
    log: bool = True
    strict_images: bool = False
    access: Access = field(default_factory=Access)
    director: Director | None = None
    capture: Capture | None = None


class Director(Protocol):
    """Says which variants an endpoint has, while it is served."""

    traffic: Traffic

    async def begin(self, pool: Pool, telemetry: Telemetry) -> None:
        """Load what there is at the start; what is raised ends the server."""
        ...

    async def follow(self, pool: Pool, telemetry: Telemetry) -> None:
        """Follow what changes, until cancelled."""
        ...


class Server:
    """A server that has its socket and models once :meth:`run` has printed its line."""

    def __init__(self, options: ServeOptions, settings: Settings) -> None:
        entry_script()  # a variable that cannot be meant is said at once, and not by the first model with code
        self._options = options
        self.telemetry = Telemetry(log_requests=options.log_requests, errors_only=not options.log)
        self.address = ""
        """Where it listens, once it does."""
        self._engine: _QuietServer | None = None
        self._on_start: Callable[[], object] = lambda: None
        limits = Limits(min(settings.max_image_bytes, options.max_payload), settings.max_image_pixels,
                        settings.decode_seconds)  # fmt: skip
        self._workers = Workers(settings.threads, limits, strict_images=options.strict_images)
        self._pool = Pool(
            options.shelf,
            Backbones(settings.threads),
            memory=options.memory,
            allow_code=options.allow_code,
        )
        self._pool.on_load = self.telemetry.loaded
        self._pool.on_lost = lambda name, error: self.telemetry.log("error", "model", model=name, message=str(error))
        fetch = Fetcher(limits.max_bytes) if options.allow_urls else refuse_urls
        self._service = Service(
            self._pool,
            self._workers,
            fetch,
            options.pinned[0] if options.pinned else None,
            options.endpoint_name,
            traffic=options.director.traffic if options.director else None,
            capture=options.capture,
        )
        container = Container(self._service, max_payload=options.max_payload, concurrency=settings.threads)
        page = Page(self._service, self.telemetry, urls=options.allow_urls)
        routes = Router(
            [*Runtime(self._service).routes, *container.routes, *page.routes],
            redirect_slashes=False,
            lifespan=self._lifespan,
        )
        self.app = Door(
            routes,
            options.access,
            self.telemetry,
            max_body=options.max_payload,
            max_bytes_in_flight=max(512_000_000, 4 * options.max_payload),
        )

    def run(self, on_start: Callable[[], object] = lambda: None) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`; requests in flight are then answered first. ``on_start`` is told
        when the models are there.

        Raises
        ------
        UsageError
            When the address cannot be listened on.
        VizslaError
            When a model named at the start cannot be loaded.
        """
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # a connection is a file, and the usual 1,024 are few
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        listening = _listen(self._options.host, self._options.port)
        self.address = f"http://{_netloc(self._options.host, listening.getsockname()[1])}"
        self._on_start = on_start
        if self._options.allow_code:
            threading.Thread(target=remove_abandoned, name="abandoned", daemon=True).start()
        config = uvicorn.Config(
            self.app,
            http=PatientConnection,
            loop="uvloop",
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(DRAIN_SECONDS),
        )
        with listening:
            self._take_over_logging()
            try:
                self._engine = _QuietServer(config, self._pool.stop_starting)
                self._engine.run(sockets=[listening])
            except SystemExit:  # how uvicorn ends when the start fails
                if self._failure is None:
                    raise
        if self._failure is not None:
            raise self._failure

    _failure: Exception | None = None

    def stop(self) -> None:
        """End :meth:`run`, which runs in another thread."""
        if self._engine is not None:
            self._engine.should_exit = True

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        self._workers.start()
        try:
            for name in self._options.pinned:
                await self._load(name)
            if self._options.director is not None:
                await self._options.director.begin(self._pool, self.telemetry)
        except Exception as error:
            if not (isinstance(error, RequestError) and error.kind == "stopping"):  # uvicorn ends by itself then
                self._failure = error
                raise
        else:
            self.telemetry.log("info", "serving", address=self.address, models=list(self._options.pinned))
            self._on_start()
        tasks = [asyncio.create_task(self._tidy())]
        if isinstance(self._options.shelf, RegisteredShelf):
            tasks.append(asyncio.create_task(follow(self._options.shelf, self._pool, self.telemetry)))
        if self._options.director is not None:
            tasks.append(asyncio.create_task(self._options.director.follow(self._pool, self.telemetry)))
        yield
        for task in tasks:
            task.cancel()
        await self._pool.close()
        await asyncio.get_running_loop().run_in_executor(None, self._workers.close)
        self.telemetry.log("info", "stopped")

    async def _load(self, name: str) -> None:
        if not self._options.shelf.moves(name):
            await self._pool.load(name, pinned=True)
            return
        async with self._pool.use(name):
            return

    def _take_over_logging(self) -> None:
        """What the libraries have to say becomes lines of our log, but for a failed start, which is raised."""
        telemetry, server = self.telemetry, self

        class Lines(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if server._failure is None:
                    telemetry.log(record.levelname.lower(), record.name, message=record.getMessage())

        for name in ("uvicorn", "python_multipart"):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [Lines(logging.WARNING)], False

    async def _tidy(self) -> None:
        """Give memory back after a burst, while nothing is asked."""
        loop = asyncio.get_running_loop()
        trimmed = self.telemetry.last_finished
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            if self._workers.in_flight or time.monotonic() - self._workers.last_active < _TIDY_SECONDS:
                continue
            try:
                if trimmed < self.telemetry.last_finished:  # whatever was asked, pictures or not
                    trimmed = time.monotonic()
                    for backbone in self._pool.backbones.all():
                        await loop.run_in_executor(None, backbone.shrink)
                    give_memory_back()
            except Exception:  # noqa: BLE001 - tidying may fail and is tried again; serving goes on
                self.telemetry.log("error", "tidying failed", trace=traceback.format_exc())
                await asyncio.sleep(60 * _TIDY_SECONDS)


class _QuietServer(uvicorn.Server):
    """Drains on SIGTERM and SIGINT and then ends as a program that did what it was told."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Installing a model's packages may take minutes: nobody who wants to end waits for that."""
        super().handle_exit(sig, frame)
        with contextlib.suppress(RuntimeError):  # before the loop runs nothing has started
            asyncio.get_running_loop().call_soon_threadsafe(self._on_exit)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Without uvicorn's raising the signal again at the end. Signals are the main thread's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _netloc(host: str, port: int) -> str:
    """As an address has it: IPv6 in brackets (RFC 3986, section 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"Cannot listen on {_netloc(host, port)}: {error.strerror or error}.",
            do=f"choose another {spelled('port')} or {spelled('host')}",
        ) from error
    return listening
