"""Clients that are slow, gone or many; a server that is told to stop; memory afterwards."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from patience import come
from PIL import Image

from vizsla.models.model import load

if TYPE_CHECKING:
    from conftest import Running

JPEG = {"content-type": "image/jpeg"}


def post_head(length: int) -> bytes:
    lines = (
        "POST /invocations HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/jpeg",
        f"Content-Length: {length}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


def connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def test_a_client_that_closes_its_sending_side_is_answered(server: Running, jpegs: list[bytes]) -> None:
    with connect(server) as sock:
        sock.sendall(post_head(len(jpegs[0])) + jpegs[0])
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).startswith(b"HTTP/1.1 200")


def test_clients_that_leave_in_the_middle_harm_nobody(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    for _ in range(40):
        with connect(server) as sock:
            sock.sendall(post_head(len(jpegs[0])) + jpegs[0][:500])
        with connect(server) as sock:
            sock.sendall(post_head(len(jpegs[0])) + jpegs[0])
    expected = load(saved_model).probabilities(jpegs[1])
    answer = server.client.post("/invocations", content=jpegs[1], headers=JPEG)
    assert np.array_equal(np.array(answer.json(), np.float32), expected)


def test_pictures_of_clients_that_left_are_not_worked_on_and_hold_nothing(
    serving: Callable[..., Running], saved_model: Path
) -> None:
    server = serving(str(saved_model), VIZSLA_THREADS="1")
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (800, 1200, 3), dtype=np.uint8)).save(file, "PNG")
    socks = [connect(server) for _ in range(30)]
    for sock in socks:
        sock.sendall(post_head(file.tell()) + file.getvalue())
    for sock in socks:  # a reset, as of a client that was killed: an orderly close might still wait for its answer
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def statuses() -> list[int]:
        return [line["status"] for line in server.log() if line.get("path") == "/invocations"]

    assert come(lambda: len(statuses()) == 30)
    assert set(statuses()) <= {200, 499}
    assert statuses().count(499) >= 10
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 10  # nobody waits for an answer that never comes


def test_five_hundred_connections_at_once(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    """All are open and have sent their request before the first answer is read."""
    expected = [load(saved_model).probabilities(jpeg) for jpeg in jpegs]
    socks = []
    for i in range(500):
        sock = connect(server)
        jpeg = jpegs[i % len(jpegs)]
        sock.sendall(post_head(len(jpeg)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + jpeg)
        socks.append(sock)
    for i, sock in enumerate(socks):
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
        sock.close()
        assert head.startswith(b"HTTP/1.1 200")
        assert np.array_equal(np.array(httpx.Response(200, content=body).json(), np.float32), expected[i % len(jpegs)])


def test_pipelined_requests_are_answered_in_order(server: Running, saved_model: Path, jpegs: list[bytes]) -> None:
    model = load(saved_model)
    with connect(server) as sock:
        sock.sendall(b"".join(post_head(len(j)) + j for j in jpegs[:4]))
        sock.shutdown(socket.SHUT_WR)
        data = read_all(sock)
    bodies = [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 OK")[1:]]
    assert len(bodies) == 4
    for body, jpeg in zip(bodies, jpegs[:4], strict=True):
        assert np.array_equal(np.array(httpx.Response(200, content=body).json(), np.float32), model.probabilities(jpeg))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 70_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, b"431"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_what_is_no_http_is_refused(server: Running, data: bytes, status: bytes) -> None:
    with connect(server) as sock:
        sock.sendall(data)
        answer = read_all(sock)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"Message"' in answer


@pytest.mark.slow
def test_slow_clients_are_given_up_and_cost_nobody_anything(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    """Proves the 15 s for headers with 200 connections that send nothing or dribble."""
    server = serving(str(saved_model))
    silent = [connect(server) for _ in range(100)]
    dribbling = [connect(server) for _ in range(100)]
    begun = time.monotonic()
    for sock in dribbling:
        sock.sendall(b"POST /invocations HTTP/1.1\r\nHost:")
    while time.monotonic() - begun < 18:
        assert server.client.post("/invocations", content=jpegs[0], headers=JPEG).status_code == 200
        for sock in dribbling:
            try:
                sock.sendall(b" x")
            except OSError:
                continue
        time.sleep(1)
    for sock in (*silent, *dribbling):
        with contextlib.suppress(ConnectionResetError):  # it was still sending when it was given up
            assert read_all(sock).startswith(b"HTTP/1.1 408")
        sock.close()


def test_sigterm_answers_what_is_in_flight_and_exits_well(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    server = serving(str(saved_model))
    expected = load(saved_model).probabilities(jpegs[0])
    socks = [connect(server) for _ in range(60)]
    for sock in socks:
        sock.sendall(post_head(len(jpegs[0])) + jpegs[0])
    server.settle()
    server.process.terminate()
    for sock in socks:
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert np.array_equal(np.array(httpx.Response(200, content=body).json(), np.float32), expected)
    assert server.process.wait(30) == 0
    assert server.log()[-1]["event"] == "stopped"


@pytest.mark.slow
def test_memory_returns_to_its_level(serving: Callable[..., Running], saved_model: Path) -> None:
    """Proves that a burst leaves nothing behind: large pictures, bodies that are too large and broken ones, many at a
    time, then quiet seconds."""
    server = serving(str(saved_model))
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (1800, 2400, 3), dtype=np.uint8)).save(file, "PNG")
    large = file.getvalue()

    def burst() -> None:
        def one(i: int) -> int:
            body = (large, bytes(27_000_000), large[: len(large) // 2])[i % 3]
            return server.client.post("/invocations", content=body, headers=JPEG).status_code

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(one, range(12))) == {200, 413, 400}

    def settled() -> int:
        time.sleep(4)
        return server.rss()

    burst()
    level = settled()
    for _ in range(2):
        burst()
    assert settled() < level + 30_000_000


def test_announced_bodies_that_never_come_refuse_nobody(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes]
) -> None:
    """Silent clients, with and without a key, hold no memory: others are served all the time."""
    server = serving(str(saved_model), VIZSLA_API_KEYS="k1, k2")
    keyed = post_head(25_000_000).replace(b"Host: localhost", b"Host: localhost\r\nx-api-key: k2")
    silent = []
    for i in range(60):
        silent.append(connect(server))
        silent[-1].sendall(keyed if i % 2 else post_head(25_000_000))
    server.settle()
    answer = server.client.post("/invocations", content=jpegs[0], headers={**JPEG, "x-api-key": "k2"})
    assert answer.status_code == 200
    for sock in silent[::2]:  # no key: answered before a byte of the body
        assert sock.recv(65536).startswith(b"HTTP/1.1 403")
    for sock in silent:
        sock.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_in_memory_are_bounded(
    serving: Callable[..., Running], saved_model: Path, jpegs: list[bytes], chunked: bool
) -> None:
    """Thirty bodies of 24 MB that never end: what is over 512 MB is turned away, announced or in chunks."""
    server = serving(str(saved_model))
    head = post_head(25_000_000)
    if chunked:
        head = head.replace(b"Content-Length: 25000000", b"Transfer-Encoding: chunked")
    part = b"17d7840\r\n" + bytes(24_000_000) if chunked else bytes(24_000_000)
    socks = []
    for _ in range(30):
        socks.append(connect(server))
        with contextlib.suppress(ConnectionError):
            socks[-1].sendall(head + part)
    answer = server.client.post("/invocations", content=bytes(24_000_000), headers=JPEG)
    assert (answer.status_code, answer.json()["ErrorCode"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert server.rss() < 512_000_000 + 250_000_000
    for sock in socks:
        sock.close()
    server.settle()
    assert server.client.post("/invocations", content=jpegs[0], headers=JPEG).status_code == 200


def test_an_upload_that_is_not_done_does_not_hold_the_end(serving: Callable[..., Running], saved_model: Path) -> None:
    server = serving(str(saved_model))
    with connect(server) as container, connect(server) as runtime:
        container.sendall(post_head(1000) + b"x")
        runtime.sendall(post_head(1000).replace(b"/invocations", b"/endpoints/a/invocations") + b"x")
        server.settle()
        start = time.monotonic()
        server.process.terminate()
        for sock in (container, runtime):
            head, _, body = read_all(sock).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503")
            assert b"x-amzn-requestid" in head
            assert "The server is stopping." in httpx.Response(503, content=body).json()["Message"]
        assert b"x-amzn-errortype: ServiceUnavailable" in head
    assert server.process.wait(30) == 0
    assert time.monotonic() - start < 12  # far below the 25 s that work in flight is given


@pytest.mark.slow
def test_what_is_not_answered_in_the_drains_time_is_told_so(serving: Callable[..., Running], tmp_path: Path) -> None:
    """Proves the 25 s: own code that sleeps for a minute when SIGTERM comes."""
    (tmp_path / "sleepy" / "code").mkdir(parents=True)
    code = "import time\ndef model_fn(d): return 0\ndef transform_fn(m, b, c, a): time.sleep(50); return b, a\n"
    (tmp_path / "sleepy" / "code" / "inference.py").write_text(code)
    server = serving(str(tmp_path / "sleepy"), "--allow-code")
    with connect(server) as sock:
        sock.sendall(post_head(3) + b"abc")
        server.settle()
        start = time.monotonic()
        server.process.terminate()
        sock.settimeout(60)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert httpx.Response(503, content=body).json()["ErrorCode"] == "stopping"
    assert server.process.wait(30) == 0
    assert 20 < time.monotonic() - start < 29  # the platform kills after 30 s
