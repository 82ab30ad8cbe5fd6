"""What every request passes: an id, bounds on its body, who may ask, words for every error, the log."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import traceback
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from vizsla.errors import ModelError
from vizsla.parameters import spelled
from vizsla.serving.access import Access
from vizsla.serving.faults import ClientGoneError, RequestError, as_request_error, container_body, runtime_answer
from vizsla.serving.sigv4 import SignedRequest
from vizsla.serving.telemetry import RequestRecord, Telemetry

_DISCARD_SECONDS = 10.0
_WITHOUT_BODY = frozenset(("GET", "HEAD", "OPTIONS"))
_WITHOUT_KEY = frozenset(("/", "/ping", "/docs", "/openapi.json", "/favicon.ico"))
"""What holds no secret: the probe of the platform, the page's frame, the description of the service."""
_UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header's value may contain (RFC 9110, 5.5)."""


class Door:
    """The ASGI application around the routes.

    ``max_body`` bounds one body, ``max_bytes_in_flight`` all of those that are in memory at a time.
    """

    def __init__(
        self, routes: Router, access: Access, telemetry: Telemetry, *, max_body: int, max_bytes_in_flight: int
    ) -> None:
        self._routes = routes
        self._access = access
        self._telemetry = telemetry
        self.max_body = max_body
        self.max_bytes_in_flight = max_bytes_in_flight
        self.bytes_in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        if scope["type"] == "lifespan":
            await self._routes.lifespan(scope, receive, send)
            return
        client = scope.get("client")
        record = RequestRecord(_request_id(), scope["method"], scope["path"], client[0] if client else "")
        started = False
        body = _Body(self)

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                _check_sendable(message)
                started = True
                record.status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-amzn-requestid", record.request_id.encode()),
                    (b"server-timing", _timing(record)),
                ]
            await send(message)

        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._access.check_client(record.client)
            self._access.check_origin(headers)
            guarded = scope["path"] not in _WITHOUT_KEY or scope["method"] not in _WITHOUT_BODY
            claim = self._access.check(headers) if guarded else None  # before a byte of the body is kept
            content = b""
            if scope["method"] not in _WITHOUT_BODY:
                scope["vizsla.reading"] = asyncio.current_task()  # the connection may end it when the server stops
                try:
                    content = await body.read(receive)
                finally:
                    del scope["vizsla.reading"]
                record.bytes_in = len(content)
            if claim:
                self._access.verify(claim, _signed(scope, content))
            scope.update({"vizsla.record": record, "vizsla.body": content, "vizsla.headers": headers, "app": self})
            await self._routes(scope, receive, send_marked)
        except ClientGoneError:
            record.status = 499  # nginx's number for it; nobody is there to read an answer
            record.error = "client-gone"
        except asyncio.CancelledError:  # the server stops and waits no longer
            failure = RequestError("stopping", "The server is stopping.", do="send the request again")
            record.error = failure.kind
            if not started:
                await _refuse(failure, record, scope, send_marked)
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            failure = self._as_failure(error, record, scope)
            record.error = failure.kind
            if not started:
                await _refuse(failure, record, scope, send_marked)
        finally:
            body.release()
            scope.pop("vizsla.body", None)  # an idle connection keeps its last scope
            self._telemetry.finished(record)

    def _as_failure(self, error: Exception, record: RequestRecord, scope: Scope) -> RequestError:
        if isinstance(error, HTTPException):
            if error.status_code == 405:
                allowed = (error.headers or {}).get("Allow") if isinstance(error.headers, dict) else None
                return RequestError("method", f"{scope['method']} is not offered here.", allowed=allowed)
            return RequestError("path-unknown", f"There is nothing at {scope['path'][:200]!r}.", do="see /docs")
        failure = as_request_error(error)
        if isinstance(error, ModelError):
            self._telemetry.log(
                "error", "model", request_id=record.request_id, message=error.what, where=str(error.where)
            )
        if failure.kind == "internal" and not isinstance(error, RequestError):
            self._telemetry.log(
                "error", "fault", request_id=record.request_id, trace="".join(traceback.format_exception(error))
            )
        return failure


class _Body:
    """A body as it arrives. What has come is counted, what was announced is not: a client that stays silent holds
    nothing."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._held = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        Raises
        ------
        RequestError
            ``body-too-large``, or ``overloaded`` when the bodies of all requests together are.
        ClientGoneError
            When the connection ends before the body.
        """
        door = self._door
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk = message.get("body", b"")
            if door.bytes_in_flight + len(chunk) > door.max_bytes_in_flight:
                chunks.clear()
                self.release()
                await _discard(receive, message, door.max_body)
                raise RequestError(
                    "overloaded", "Too many bytes are being received at the same time.", do="try again a little later"
                )
            self._held += len(chunk)
            door.bytes_in_flight += len(chunk)
            if self._held > door.max_body:
                break
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.release()
        await _discard(receive, message, 8 * door.max_body)
        raise RequestError(
            "body-too-large",
            "The request's body is too large.",
            allowed=f"at most {door.max_body / 2**20:g} MiB",
            do=f"send a smaller picture, or start the server with a larger {spelled('max_payload_mb')}",
        )

    def release(self) -> None:
        """The body is in memory no more."""
        self._door.bytes_in_flight -= self._held
        self._held = 0


async def _discard(receive: Receive, message: Message, most: int) -> None:
    """Let a client that sends too much finish, within bounds: only then does it read the answer."""
    rest = most
    try:
        async with asyncio.timeout(_DISCARD_SECONDS):
            while rest > 0 and message["type"] != "http.disconnect" and message.get("more_body", False):
                message = await receive()
                rest -= len(message.get("body", b""))
    except TimeoutError:
        return


async def _refuse(error: RequestError, record: RequestRecord, scope: Scope, send: Send) -> None:
    runtime = scope["path"].startswith("/endpoints/")
    headers = [(b"content-type", b"application/json")]
    if runtime:
        status, body = runtime_answer(error, record.request_id)
        headers.append((b"x-amzn-errortype", error.fault.runtime.encode()))
    else:
        status, body = error.fault.status, container_body(error, record.request_id)
    if error.kind in ("overloaded", "stopping", "target-starting"):
        headers.append((b"retry-after", b"1"))
    if error.kind == "body-encoding":
        headers.append((b"accept-encoding", b"identity"))  # RFC 9110, 15.5.16
    if error.kind == "method" and error.allowed:
        headers.append((b"allow", error.allowed.encode()))
    if error.kind in ("body-too-large", "overloaded", "stopping"):
        headers.append((b"connection", b"close"))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_sendable(message: Message) -> None:
    """The server below would drop the connection."""
    for name, value in message.get("headers", ()):
        if _UNSENDABLE.search(value):
            raise ValueError(f"the answer's header {name!r} cannot be {value[:200]!r}")


def _signed(scope: Scope, body: bytes) -> SignedRequest:
    path = scope.get("raw_path") or scope["path"].encode()
    digest = hashlib.sha256(body).hexdigest()
    return SignedRequest(scope["method"], path, scope["query_string"], scope["headers"], digest)


def _request_id() -> str:
    """A random UUID; it names a line of the log and guards nothing, so that it need not come from the system."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _timing(record: RequestRecord) -> bytes:
    return f"wait;dur={1000 * record.wait_seconds:.2f}, work;dur={1000 * record.work_seconds:.2f}".encode()


def record_of(scope: Any) -> RequestRecord:
    """The record of the request that ``scope`` belongs to."""
    record: RequestRecord = scope["vizsla.record"]
    return record
