"""Gets a picture from a public address, and from nowhere else.

Every name is resolved once, every address that it has is checked, and the connection goes to the very address that
was checked, so that a name cannot point elsewhere a moment later. Each redirect passes the same checks (OWASP,
"Server-Side Request Forgery Prevention").
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast
from urllib.parse import SplitResult, urljoin, urlsplit

from vizsla.parameters import spelled
from vizsla.serving.faults import RequestError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 3
_CHUNK_BYTES = 65_536
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, also where another is wrapped inside it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address.sixtofour or address.teredo or address in _NAT64:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Budget:
    """The bytes that the fetches of one request may bring together. Safe to take from in several threads."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Count bytes that have come.

        Raises
        ------
        RequestError
            ``too-many-bytes``.
        """
        with self._lock:
            self._left -= count
            if self._left < 0:
                raise RequestError(
                    "too-many-bytes",
                    "What the address gives is too large.",
                    allowed=f"at most {self._most / 1e6:g} MB a request",
                )

    def close(self) -> None:
        """Nobody wants more."""
        with self._lock:
            self._left = -1


@dataclass(frozen=True)
class Fetcher:
    """``seconds`` bounds one fetch with all its redirects, ``request_seconds`` those of a request together, and
    ``max_bytes`` what they bring together; ``ports`` is None for any."""

    max_bytes: int
    seconds: float = 10.0
    request_seconds: float = 30.0
    allowed: Callable[[Address], bool] = is_public
    ports: frozenset[int] | None = frozenset((80, 443))

    async def __call__(self, urls: Sequence[str]) -> list[bytes]:
        """Fetch a request's pictures, several at a time, in threads.

        Raises
        ------
        RequestError
            ``url-refused``, ``url-failed`` or ``too-many-bytes``.
        """
        loop, budget = asyncio.get_running_loop(), Budget(self.max_bytes)
        fetches = [loop.run_in_executor(_threads(), self.fetch, url, budget) for url in urls]
        try:
            async with asyncio.timeout(self.request_seconds):
                return await asyncio.gather(*fetches)
        except TimeoutError as error:
            words = f"The pictures cannot be fetched: together they took longer than {self.request_seconds:g} s."
            raise RequestError("url-failed", words) from error
        finally:
            budget.close()  # what is under way ends with its next bytes
            for fetch in fetches:
                fetch.cancel()

    def fetch(self, url: str, budget: Budget | None = None) -> bytes:
        """Fetch a picture; what it brings is taken from ``budget``.

        Raises
        ------
        RequestError
            ``url-refused`` for an address that may not be asked, ``url-failed`` when it does not answer well.
        """
        budget = budget or Budget(self.max_bytes)
        deadline = time.monotonic() + self.seconds
        for _ in range(_MAX_REDIRECTS + 1):
            parts = self._checked(url)
            try:
                answer = self._get(parts, deadline, budget)
            except (OSError, http.client.HTTPException, ValueError, UnicodeError) as error:
                words = str(error)[:200] or type(error).__name__
                raise RequestError("url-failed", f"The picture cannot be fetched: {words}.", where=url[:200]) from error
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise RequestError("url-failed", f"More than {_MAX_REDIRECTS} redirects.", where=url[:200])

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise RequestError("url-refused", f"The address cannot be read: {error}.", where=url[:200]) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise RequestError(
                "url-refused",
                "The address is of no kind that is fetched.",
                where=url[:200],
                allowed="http(s)://host/...",
            )
        if self.ports is not None and port not in self.ports:
            raise RequestError("url-refused", f"Port {port} is not fetched from.", where=url[:200], allowed="80, 443")
        return parts

    def _get(self, parts: SplitResult, deadline: float, budget: Budget) -> bytes | str:
        """The picture, or the address that it has moved to."""
        host = cast(str, parts.hostname)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock = self._connect(host, port, parts, deadline)
        # Whatever trickles in, a header byte a second for instance, ends at the deadline.
        watchdog = threading.Timer(_left(deadline), _hang_up, [sock])
        watchdog.daemon = True
        watchdog.start()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "vizsla"})
            response = connection.getresponse()
            if response.status in _REDIRECTS and response.headers["Location"]:
                return str(response.headers["Location"])
            if response.status != 200:
                raise RequestError("url-failed", f"The address answered {response.status}.", where=parts.geturl()[:200])
            chunks = []
            while chunk := response.read(_CHUNK_BYTES):
                budget.take(len(chunk))
                chunks.append(chunk)
            _left(deadline)  # what was cut off by the watchdog looks like an end
        except (OSError, http.client.HTTPException):
            _left(deadline)
            raise
        finally:
            watchdog.cancel()
            connection.close()
        return b"".join(chunks)

    def _connect(self, host: str, port: int, parts: SplitResult, deadline: float) -> socket.socket:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for entry in addresses:
            address = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
            if not self.allowed(address):
                raise RequestError(
                    "url-refused",
                    f"{host} is not a public address ({address}).",
                    where=parts.geturl()[:200],
                    allowed="addresses of the public internet",
                )
        family, kind, protocol, _, address_port = addresses[0]
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(_left(deadline))
            plain.connect(address_port)
            if parts.scheme == "https":
                return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise
        return plain


async def refuse_urls(urls: Sequence[str]) -> list[bytes]:
    """What stands in for a fetcher while fetching is off.

    Raises
    ------
    RequestError
        ``url-off``, always.
    """
    raise RequestError(
        "url-off",
        "This server does not fetch pictures from addresses.",
        where=urls[0][:200],
        do=f"send the picture itself, or start the server with {spelled('allow_urls', True)}",
    )


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, thread_name_prefix="fetch")


def _hang_up(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("it took too long")
    return seconds
