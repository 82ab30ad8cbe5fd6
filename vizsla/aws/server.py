"""The server of the door: one a home, on 127.0.0.1."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from vizsla.aws import runners
from vizsla.aws.application import Application
from vizsla.aws.client_environment import variables
from vizsla.aws.context import STATE, Context
from vizsla.errors import UsageError, VizslaError
from vizsla.files import storage, write_json
from vizsla.jobs.handover import load
from vizsla.serving.access import Access

HOST = "127.0.0.1"
PORT = 4566
"""Where it listens if nobody says otherwise and the port is free."""
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Running:
    """A server that runs."""

    address: str
    pid: int


def running(home: Path) -> Running | None:
    """The server of a home, where one runs."""
    folder = home / STATE
    if not (folder / "server.lock").exists():
        return None
    lock = os.open(folder / "server.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        for _ in range(100):  # it writes its address right after it took the lock
            if facts := load(folder / "server.json"):
                return Running(str(facts["address"]), int(facts["pid"]))
            time.sleep(0.02)
        return None
    finally:
        os.close(lock)
    return None


@contextlib.contextmanager
def serving(home: Path, *, port: int | None = None, pass_through: bool = False) -> Iterator[Context]:
    """Serve during the block, in threads of this process; jobs that it started go on after it.

    Raises
    ------
    UsageError
        When a server runs on this home already, or the port is taken.
    """
    home = home.absolute()
    with _only_one(home), _socket(port) as listener, contextlib.ExitStack() as stack:
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        keys = Access.from_environment(HOST, anonymous=False).sigv4
        ctx = Context(home, address, pass_through=pass_through, keys=keys)
        write_json(ctx.state / "server.json", {"address": address, "pid": os.getpid()})
        stack.enter_context(_environment(variables(ctx) | {"VIZSLA_HOME": str(home)}))
        server = uvicorn.Server(
            uvicorn.Config(
                Application(ctx),
                http="httptools",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=3,
            )
        )
        runners.take_over(home)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="vizsla-aws", daemon=True)
        thread.start()
        try:
            _wait(server, thread, address)
            yield ctx
        finally:
            server.should_exit = True
            thread.join(10)
            runners.close(home)
            (ctx.state / "server.json").unlink(missing_ok=True)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What jobs and endpoints find that are started in the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ |= variables
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _wait(server: uvicorn.Server, thread: threading.Thread, address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise VizslaError("The server did not start.", where=address)
        time.sleep(0.01)


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    folder = home / STATE
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        other = running(home)
        raise UsageError(
            "A server runs on this home already" + (f" (process {other.pid})." if other else "."),
            where=other.address if other else folder,
            do="`vizsla aws run -- COMMAND` runs a command against it; another VIZSLA_HOME has a server of its own",
        ) from None
    try:
        (folder / "server.json").unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _socket(port: int | None) -> Iterator[socket.socket]:
    """A listening socket: on the port that is asked for, else on the usual one, else on any."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        for one in [port] if port is not None else [PORT, 0]:
            try:
                listener.bind((HOST, one))
                break
            except OSError as error:
                if port is not None:
                    raise UsageError(
                        f"The port {port} is taken.",
                        parameter="port",
                        do="choose another, or leave it out for one that is free",
                    ) from error
        listener.listen(1024)
        yield listener
