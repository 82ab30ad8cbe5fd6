"""What a connection may send ahead, leave unread, ask for and follow up with garbage, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn

from vizsla.models.model import load
from vizsla.serving import connection as connection_module
from vizsla.serving.connection import PatientConnection

if TYPE_CHECKING:
    from conftest import Running


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            data += chunk
    return data


def post(body: bytes, *lines: str) -> bytes:
    head = ("POST /invocations HTTP/1.1", "Host: localhost", "Content-Type: image/jpeg", *lines)
    return "\r\n".join((*head, f"Content-Length: {len(body)}", "", "")).encode() + body


def test_what_is_sent_ahead_is_not_kept_without_end(serving: Callable[..., Running], saved_model: Path) -> None:
    """A client without a key sends 80 MB of requests and reads no answer."""
    server = serving(str(saved_model), VIZSLA_API_KEYS="k")
    before = server.rss()
    request = b"GET /models HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"x" * 2000 + b"\r\n\r\n"
    sent, block = 0, memoryview(request * 100)
    with connect(server) as sock:
        sock.settimeout(2)
        with contextlib.suppress(OSError):
            while sent < 80_000_000:
                sent += sock.send(block)
                block = memoryview((request * 100)[sent % len(request) :])
        assert sent < 60_000_000
        assert server.rss() - before < 100_000_000
    assert server.client.get("/ping").status_code == 200


def test_thousands_of_requests_at_once_end_in_a_refusal(server: Running) -> None:
    with connect(server) as sock:
        sock.sendall(b"GET /ping HTTP/1.1\r\n\r\n" * 2500)
        data = read_all(sock)
    assert 1000 < data.count(b"HTTP/1.1 200 OK") < 2500
    assert data.rpartition(b"HTTP/1.1 ")[2].startswith(b"400")


def test_bodies_sent_ahead_are_answered_in_order(server: Running, jpegs: list[bytes]) -> None:
    """Larger than what is read at once, so that the connection stops and goes on."""
    pictures = (jpegs * 4)[:40]
    with connect(server) as sock:
        requests = [post(jpeg, f"X-Amzn-SageMaker-Custom-Attributes: n{i}") for i, jpeg in enumerate(pictures)]
        requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        sock.sendall(b"".join(requests))
        data = read_all(sock)
    assert data.count(b"HTTP/1.1 200 OK") == 40
    found = [line.partition(b": ")[2] for line in data.split(b"\r\n") if b"custom-attributes: " in line.lower()]
    assert found == [f"n{i}".encode() for i in range(40)]


def test_garbage_after_a_request_does_not_take_its_answer(server: Running, jpegs: list[bytes]) -> None:
    for count in (1, 3):
        with connect(server) as sock:
            sock.sendall(post(jpegs[0]) * count + b"\x00nonsense\r\n\r\n")
            answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200"] * count + [b"400"]
        assert b"Invalid HTTP request" in answers[-1]


def test_a_broken_body_sent_ahead_leaves_the_answers_before_it(server: Running, jpegs: list[bytes]) -> None:
    broken = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n"
    with connect(server) as sock:
        sock.sendall(post(jpegs[0]) * 2 + broken)
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"400"]


OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA")


@pytest.mark.parametrize("line", ["X: {}", "Upgrade: {}", "X: y\r\nZ: {}"])
def test_headers_that_come_at_once_are_bounded_too(server: Running, line: str) -> None:
    for size, answer in ((65_000, b"HTTP/1.1 200 "), (70_000, b"HTTP/1.1 431 "), (200_000, b"HTTP/1.1 431 ")):
        head = "\r\n".join(("GET /ping HTTP/1.1", "Host: 127.0.0.1", "Connection: close", line.format("x" * size)))
        with connect(server) as sock:
            sock.sendall(head.encode() + b"\r\n\r\n")
            assert read_all(sock).startswith(answer)


@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE"])
def test_a_client_that_offers_http2_keeps_its_body(server: Running, jpegs: list[bytes], name: str) -> None:
    """As Java's HttpClient sends its first request."""
    with connect(server) as sock:
        sock.sendall(post(jpegs[0], *(line.replace("Upgrade:", f"{name}:") for line in OFFER)))
        first = sock.recv(65536)
        sock.sendall(post(jpegs[1], "Connection: close"))
        answers = first + read_all(sock)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("offers", [(1,), (0, 1, 2), (2,)])
def test_a_request_sent_ahead_that_offers_http2_keeps_its_body(
    server: Running, saved_model: Path, jpegs: list[bytes], offers: tuple[int, ...]
) -> None:
    """And none of the three gets another's answer."""
    model = load(saved_model)
    pictures = [jpegs[1], jpegs[2], jpegs[3]]
    requests = [post(jpeg, *(OFFER if place in offers else ())) for place, jpeg in enumerate(pictures)]
    requests[-1] = requests[-1].replace(b"Host: localhost", b"Host: localhost\r\nConnection: close")
    with connect(server) as sock:
        sock.sendall(b"".join(requests))
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 3
    for answer, jpeg in zip(answers, pictures, strict=True):
        probabilities = np.array(json.loads(answer.partition(b"\r\n\r\n")[2]), np.float32)
        assert np.array_equal(probabilities, model.probabilities(jpeg))


@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_may_come_in_pieces(server: Running, jpegs: list[bytes], chunked: bool) -> None:
    """Wherever the network cuts it, also within the header's name."""
    request = post(jpegs[1], "Upgrade: websocket", "Connection: upgrade")
    head, _, body = request.partition(b"\r\n\r\n")
    if chunked:
        head = head.replace(f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    with connect(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head:
            sock.sendall(bytes((byte,)))
            time.sleep(0.0005)
        sock.sendall(b"\r\n\r\n" + body)
        sock.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200"]
    assert len(json.loads(answers[0].partition(b"\r\n\r\n")[2])) == 7


@pytest.mark.parametrize("target", ["example.com:443", "/ping"])
def test_a_proxy_is_not_offered(server: Running, target: str) -> None:
    """What follows CONNECT would be another protocol: the connection ends."""
    with connect(server) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /ping HTTP/1.1\r\n\r\n".encode())
        answers = read_all(sock).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"400"]


def test_who_reads_no_answer_is_left_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "WRITE_SECONDS", 0.5)
    done: list[float] = []

    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(100):
                await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        finally:
            done.append(time.monotonic())

    async def ask() -> None:
        config = uvicorn.Config(large, http=PatientConnection, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve([listening]))
            _, writer = await asyncio.open_connection(*listening.getsockname(), limit=1000)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(20):
                while not done:
                    await asyncio.sleep(0.05)
            writer.transport.abort()
            server.should_exit = True
            await serving

    asyncio.run(ask())
    assert done
