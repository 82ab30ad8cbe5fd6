"""The S3 door as an ASGI application: a request in, an operation, an answer or an error in S3's words."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
import uuid
from dataclasses import replace
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import intake, presigned_v2, xml
from vizsla.aws.s3.body import Body, ClientGoneError
from vizsla.aws.s3.calls import Answer, Call, Content, Site
from vizsla.aws.s3.conditions import NotModifiedError
from vizsla.aws.s3.intake import QUICK_BYTES, in_thread
from vizsla.aws.s3.objects import incoming
from vizsla.aws.s3.operations import Route, route_of
from vizsla.aws.s3.request import Request, request_of
from vizsla.aws.s3.upstream import Upstream
from vizsla.aws.signature import verify
from vizsla.errors import StorageError
from vizsla.serving.sigv4 import UNSIGNED, Signature

_READ_BLOCK = 512 << 10
_DRAIN_BYTES = 64 << 20
_DRAIN_SECONDS = 10.0
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_LOG = logging.getLogger(__name__)


class S3Application:
    """Answers requests to S3 from the buckets of a site; reads of buckets that are not there, from ``upstream``."""

    def __init__(self, site: Site, upstream: Upstream | None = None) -> None:
        self._site = site
        self._upstream = upstream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, whatever happens."""
        request_id = uuid.uuid4().hex[:16].upper()
        request: Request | None = None
        body: Body | None = None
        try:
            request = request_of(scope)
            route = route_of(request)
            signed = self._signed(request)
            self._check_owner(request)
            body = Body(request, receive, signed)
            answer = await self._answer(route, request, body)
        except ClientGoneError:
            return
        except NotModifiedError:
            answer = Answer(304)
        except Exception as error:  # noqa: BLE001 - the last place that can answer
            refusal = _refusal(error, request_id)
            drained = await _drain(request, body, receive)
            answer = _error_answer(refusal, request, request_id, close=not drained)
        await _send(answer, request_id, scope["method"] == "HEAD", receive, send)

    async def _answer(self, route: Route, request: Request, body: Body) -> Answer:
        if route.before is None:
            call = Call(self._site, request, await intake.document(request, body, summed=not route.of_object))
            try:
                return route.operation(call) if route.quick else await in_thread(route.operation, call)
            except AwsError as error:
                if self._upstream and error.code == "NoSuchBucket" and request.method in ("GET", "HEAD"):
                    return await in_thread(self._upstream.answer, request)
                raise
        call = Call(self._site, request)
        route.before(call)

        def then(content: Content) -> Answer:
            return route.operation(replace(call, content=content))

        with incoming(self._site.home, call.made_bucket) as path:
            return await intake.content(request, body, path, then)

    def _signed(self, request: Request) -> Signature | None:
        if not self._site.keys:
            return None
        if presigned_v2.is_presigned(request):
            presigned_v2.verify(request, self._site.keys, time.time())
            return None
        scope = request.scope
        return verify(
            request.method,
            scope.get("raw_path") or scope["path"].encode(),
            scope["query_string"],
            scope["headers"],
            request.headers.get("x-amz-content-sha256", UNSIGNED),
            self._site.keys,
            s3=True,
        )

    def _check_owner(self, request: Request) -> None:
        for header in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
            if request.headers.get(header, self._site.account) != self._site.account:
                raise AwsError(
                    "AccessDenied",
                    f"Access Denied: {header} is not {self._site.account}, whose buckets these are.",
                    403,
                )


def _refusal(error: Exception, request_id: str) -> AwsError:
    if isinstance(error, AwsError):
        return error
    cause = error.__cause__ if isinstance(error, StorageError) else error
    if isinstance(cause, OSError):
        if cause.errno in _FULL:
            return AwsError("InsufficientStorage", "The disk of this bucket is full; nothing was changed.", 507)
        if cause.errno in _FORBIDDEN:
            return AwsError("AccessDenied", f"This server may not write or read there: {cause.strerror}.", 403)
    if isinstance(error, StorageError):
        return AwsError("InvalidArgument", str(error))
    _LOG.error("request %s failed", request_id, exc_info=error)
    return AwsError(
        "InternalError", f"We encountered an internal error; the server's log tells more of {request_id}.", 500
    )


def _error_answer(error: AwsError, request: Request | None, request_id: str, *, close: bool) -> Answer:
    headers = {"content-type": "application/xml"}
    if close:
        headers["connection"] = "close"
    tree = {
        "Code": error.code,
        "Message": error.message,
        "BucketName": request.bucket or None if request else None,
        "Key": request.key or None if request else None,
        "Resource": request.resource if request else None,
        "RequestId": request_id,
        "HostId": "vizsla",
    }
    return Answer(error.status, headers, xml.write("Error", tree, namespace=False))


async def _drain(request: Request | None, body: Body | None, receive: Any) -> bool:
    """Let a client finish that is sending, within bounds: only then does it read the answer. False where there is more,
    or where the client waits for a word (``Expect``) and is told the refusal instead."""
    if request is None or (body is not None and body.ended):
        return body is not None and body.ended
    if "100-continue" in request.headers.get("expect", "").lower() and (body is None or not body.begun):
        return False
    left = _DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return True
    return False


async def _send(answer: Answer, request_id: str, head: bool, receive: Any, send: Any) -> None:
    headers = {"x-amz-request-id": request_id, "x-amz-id-2": "vizsla", **answer.headers}
    if answer.status not in (204, 304) and answer.chunks is None:
        headers.setdefault("content-length", str(len(answer.body)))
    pairs = [(name.encode("latin-1"), _sendable(value)) for name, value in headers.items()]
    source = answer.source
    gone: asyncio.Task[Any] | None = None
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        if answer.chunks is not None:
            while data := await in_thread(next, answer.chunks, b""):
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        if source is None or head:
            await send({"type": "http.response.body", "body": b"" if head else answer.body})
            return
        at, end = answer.start, answer.start + answer.count
        if answer.count > _READ_BLOCK:
            gone = asyncio.ensure_future(receive())
        while at < end:
            place = (source.file.fileno(), min(_READ_BLOCK, end - at), at)
            data = os.pread(*place) if answer.count <= QUICK_BYTES else await in_thread(os.pread, *place)
            at += len(data)
            if not data or (gone is not None and gone.done()):
                return  # a job cut the file, or nobody reads: the connection ends before its announced length
            await send({"type": "http.response.body", "body": data, "more_body": at < end})
    finally:
        if gone is not None:
            gone.cancel()
        if source is not None:
            source.close()


def _sendable(value: str) -> bytes:
    """A header's value: no line may end in it."""
    return value.encode("utf-8", "replace").replace(b"\r", b" ").replace(b"\n", b" ").replace(b"\0", b"")
