"""Pictures behind links: only from public addresses, checked after DNS and on every redirect, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vizsla.serving.faults import RequestError
from vizsla.serving.fetch import Fetcher, is_public

if TYPE_CHECKING:
    from conftest import Running


class _Pictures(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        port = self.server.server_address[1]
        redirects = {
            "/once": f"http://127.0.0.1:{port}/picture",
            "/relative": "picture",
            "/loop": "/loop",
            "/inside": f"http://127.0.0.2:{port}/picture",
            "/file": "file:///etc/passwd",
        }
        if self.path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        if self.path == "/dribble":
            with contextlib.suppress(OSError):
                for letter in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
                    self.wfile.write(bytes((letter,)))
                    time.sleep(0.1)
            return
        self.send_response(200)
        self.end_headers()
        try:
            if self.path == "/slow":
                for _ in range(1000):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            else:
                self.wfile.write(bytes(2_000_000) if self.path == "/large" else b"a picture")
        except OSError:
            return

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """A real web server on this machine."""
    server = ThreadingHTTPServer(("", 0), _Pictures)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def only_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Stands for "public" where there is no internet: 127.0.0.1 is, 127.0.0.2 is not."""
    return str(address) == "127.0.0.1"


FETCH = Fetcher(1_000_000, 60, allowed=only_one, ports=None)
HASTY = dataclasses.replace(FETCH, seconds=1.5)
"""For what comes in pieces for longer than a minute."""


@pytest.mark.parametrize("path", ["/picture", "/once", "/relative"])
def test_a_picture_is_fetched_also_behind_a_redirect(origin: str, path: str) -> None:
    assert FETCH.fetch(origin + path) == b"a picture"


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/inside", "url-refused", "127.0.0.2 is not a public address"),
        ("/file", "url-refused", "of no kind that is fetched"),
        ("/loop", "url-failed", "More than 3 redirects"),
        ("/absent", "url-failed", "The address answered 404"),
        ("/large", "too-many-bytes", "What the address gives is too large"),
        ("/slow", "url-failed", "took too long"),
        ("/dribble", "url-failed", "took too long"),
    ],
)
def test_what_an_address_may_not_do(origin: str, path: str, kind: str, words: str) -> None:
    start = time.monotonic()
    with pytest.raises(RequestError) as refused:
        (HASTY if path in ("/slow", "/dribble") else FETCH).fetch(origin + path)
    assert refused.value.kind == kind
    assert words in str(refused.value)
    assert time.monotonic() - start < 50


def test_the_links_of_a_request_share_their_bytes_and_their_time(origin: str) -> None:
    paths = ["/picture", "/once", "/relative"]
    assert asyncio.run(FETCH([origin + path for path in paths])) == [b"a picture"] * 3
    half = dataclasses.replace(FETCH, max_bytes=5_000_000)
    with pytest.raises(RequestError) as large:
        asyncio.run(half([origin + "/large"] * 3))
    assert large.value.kind == "too-many-bytes"
    assert "at most 5 MB a request" in str(large.value)
    short = dataclasses.replace(FETCH, request_seconds=0.5)
    start = time.monotonic()
    with pytest.raises(RequestError) as slow:
        asyncio.run(short([origin + "/slow"] * 16))
    assert slow.value.kind == "url-failed"
    assert "longer than 0.5 s" in str(slow.value)
    assert time.monotonic() - start < 50


def test_a_request_of_many_links_is_refused(serving: Callable[..., Running], saved_model: Path) -> None:
    server = serving(str(saved_model), "--allow-urls")
    answer = server.client.post("/invocations", json={"images": [{"url": "http://127.0.0.1/a.jpg"}] * 17})
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "too-many-pictures")
    assert "The request holds 17 links." in answer.json()["Message"]
    assert answer.json()["Allowed"] == "at most 16 a request"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg", "http://localhost/a.jpg", "http://[::1]/", "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3/", "http://192.168.0.1/", "http://0.0.0.0/", "http://[::ffff:127.0.0.1]/", "http://2130706433/",
        "http://0x7f.1/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://user@127.0.0.1/",
        "ftp://example.com/a", "file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://[bad/", "http://127.0.0.1:22/",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_however_they_are_written(url: str) -> None:
    with pytest.raises(RequestError) as refused:
        Fetcher(1000, 2).fetch(url)
    assert refused.value.kind == "url-refused"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("100.64.0.1", False), ("224.0.0.1", False), ("fe80::1", False),
        ("fd00::1", False), ("198.18.0.1", False), ("::", False), ("ff02::1", False), ("255.255.255.255", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


def test_links_are_off_by_default_and_public_only_when_on(
    serving: Callable[..., Running], saved_model: Path, origin: str
) -> None:
    off, on = serving(str(saved_model)), serving(str(saved_model), "--allow-urls")
    refused = off.client.post("/invocations", json={"url": origin + "/picture"})
    assert (refused.status_code, refused.json()["ErrorCode"]) == (403, "url-off")
    assert "--allow-urls" in refused.json()["Do"]
    inside = on.client.post("/invocations", json={"url": "http://127.0.0.1/picture"})
    assert (inside.status_code, inside.json()["ErrorCode"]) == (400, "url-refused")
