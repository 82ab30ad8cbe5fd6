"""All services on one port: which one is meant, asked, and its answer or refusal on the wire.

A request belongs to the service that ``X-Amz-Target`` names; else to that of its signature's scope; else a path of
the Runtime API is one, and everything else is S3's.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from vizsla.aws import s3, sagemaker_runtime, signature
from vizsla.aws.context import Context, Operation
from vizsla.aws.errors import AwsError, invalid
from vizsla.aws.members import wrong_types
from vizsla.aws.protocols import cbor_error, json_answer, json_error, read_json, read_query, xml_answer, xml_error
from vizsla.aws.s3.places import BUCKETS
from vizsla.aws.sagemaker.absent import words_of
from vizsla.errors import VizslaError
from vizsla.parameters import PYTHON, speaking
from vizsla.serving.access import Access
from vizsla.serving.faults import RequestError

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON = {
    "SageMaker": "vizsla.aws.sagemaker.operations",
    "Logs_20140328": "vizsla.aws.logs",
    "GraniteServiceVersion20100801": "vizsla.aws.metrics",
    "AmazonEC2ContainerRegistry_V20150921": "vizsla.aws.ecr",
}
"""What stands before the dot of ``X-Amz-Target``, and the module of that service."""
_QUERY = {"sts": "vizsla.aws.sts", "iam": "vizsla.aws.iam", "monitoring": "vizsla.aws.metrics"}
"""Services that are asked by a form, by the name in the signature's scope."""
_METRICS = "sagemaker-metrics"
_METRICS_PATHS = ("/BatchPutMetrics", "/BatchGetMetrics")
"""The paths of that service, whose scope is that of the Runtime API."""
_DOOR = PYTHON.but(data="the channel's S3Uri")
_SCOPE = re.compile(rb"Credential=[^,\s]*/\d{8}/[^/,\s]+/([^/,\s]+)/aws4_request")
_WHO = ("host", "origin")
"""The headers that tell a page of another site."""
_MAX_BODY = 16 << 20
_MAX_PAYLOAD = 30 << 20


class Application:
    """The door as one ASGI application."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._keys = ctx.keys
        self._access = Access()
        self._s3 = s3.application(
            ctx.home, account=ctx.account, region=ctx.region, keys=self._keys, pass_through=ctx.pass_through
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        service = service_of(scope["method"], scope["path"], headers)
        if (refusal := self._foreign(headers)) is not None:
            await json_error(refusal)(scope, receive, send)
        elif service == "s3":
            await self._s3(scope, receive, send)
        else:
            response = await self._answer(service, Request(scope, receive), headers)
            await response(scope, receive, send)

    def _foreign(self, headers: Mapping[bytes, bytes]) -> AwsError | None:
        """Why a page of another site, which a person's browser shows, may not ask."""
        who = {name: headers[name.encode()].decode("latin-1") for name in _WHO if name.encode() in headers}
        try:
            self._access.check_origin(who)
        except RequestError as error:
            return AwsError("AccessDenied", error.what, 403)
        return None

    async def _answer(self, service: str, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        target = headers.get(b"x-amz-target", b"").decode("latin-1")
        version = "1.0" if b"json-1.0" in headers.get(b"content-type", b"") else "1.1"
        is_query = not target and service in _QUERY
        is_form = is_query or (not target and b"x-www-form-urlencoded" in headers.get(b"content-type", b""))
        is_cbor = headers.get(b"smithy-protocol") == b"rpc-v2-cbor"

        def refusal(error: AwsError) -> Response:
            if is_cbor:
                return cbor_error(error)
            return xml_error(error, service) if is_form else json_error(error, version)

        try:
            if is_cbor:
                raise AwsError("UnknownOperationException", "RPC v2 CBOR is not spoken here; JSON and Query are.")
            body = await _body(request, _MAX_PAYLOAD if service == "runtime" else _MAX_BODY)
            if service == "runtime":  # the endpoint's own server looks at the signature
                return await self._invoke(request, body)
            self._check_signature(request, body)
            if service == _METRICS:
                name = request.url.path.strip("/")
                return json_answer(await self._call("vizsla.aws.sagemaker_metrics", name, read_json(body)))
            if is_query:
                name, members = read_query(body or request.url.query.encode())
                return xml_answer(name, await self._call(_QUERY[service], name, members), service)
            prefix, _, name = target.partition(".")
            if prefix not in _JSON:
                raise AwsError("UnknownOperationException", _unknown(service, target))
            return json_answer(await self._call(_JSON[prefix], name, read_json(body)), version)
        except AwsError as error:
            return refusal(error)
        except ClientDisconnect:
            return Response()  # nobody reads it
        except Exception as error:  # noqa: BLE001 - a fault of ours is told, and does not end the server
            traceback.print_exc(file=sys.stderr)
            return refusal(AwsError("InternalFailure", f"{type(error).__name__}: {error}", 500))

    async def _call(self, module: str, name: str, members: dict[str, Any]) -> dict[str, Any]:
        operation = _operation(module, name)
        try:
            return await run_in_threadpool(_ask, operation, self._ctx, members)
        except (AttributeError, TypeError, ValueError) as error:
            if (words := await run_in_threadpool(wrong_types, module, name, members)) is None:
                raise
            raise AwsError("SerializationException", words) from error

    async def _invoke(self, request: Request, body: bytes) -> Response:
        raw = request.scope.get("raw_path") or request.url.path.encode()
        return await run_in_threadpool(
            sagemaker_runtime.invoke,
            self._ctx,
            request.url.path,
            raw.decode("latin-1"),
            request.scope["headers"],
            body,
        )

    def _check_signature(self, request: Request, body: bytes) -> None:
        if self._keys:
            raw = request.scope.get("raw_path") or request.url.path.encode()
            digest = hashlib.sha256(body).hexdigest()
            query = request.scope["query_string"]
            signature.verify(request.method, raw, query, request.scope["headers"], digest, self._keys)


def service_of(method: str, path: str, headers: Mapping[bytes, bytes]) -> str:
    """The service that a request is for: ``s3``, ``runtime``, or its name in a signature's scope.

    Examples
    --------
    >>> service_of("POST", "/endpoints/dogs/invocations", {})
    'runtime'
    >>> service_of("GET", "/endpoints/dogs/invocations", {})
    's3'
    """
    match = _SCOPE.search(headers.get(b"authorization", b""))
    scope = match[1].decode("latin-1") if match else ""
    if b"x-amz-target" in headers:
        return scope or "sagemaker"
    if scope == "sagemaker" and path in _METRICS_PATHS:
        return _METRICS
    if scope == "sagemaker" or (not scope and method == "POST" and sagemaker_runtime.PATH.fullmatch(path)):
        return "runtime"
    return scope if scope and scope != "s3" else "s3"


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise AwsError("RequestEntityTooLarge", f"The body is larger than {most:,} bytes.", 413)
        parts.append(part)
    return b"".join(parts)


def operations_of(module: str) -> Mapping[str, Operation]:
    """The operations of a service, imported when it is first asked: who only puts files here pays for no more."""
    table: Mapping[str, Operation] = importlib.import_module(module).OPERATIONS
    return table


def _operation(module: str, name: str) -> Operation:
    known = operations_of(module)
    if name not in known:
        raise AwsError("UnknownOperationException", words_of(name))
    return known[name]


_OFFERED = "Offered are SageMaker, SageMaker Runtime, S3, CloudWatch, CloudWatch Logs, STS, IAM and ECR."


def _unknown(service: str, target: str) -> str:
    if target:
        return f"The operation {target!r} is not offered here. {_OFFERED}"
    if service in ("logs", "ecr"):
        return f"The service {service!r} is not offered here in this protocol; a newer client speaks JSON."
    return f"The service {service!r} is not offered here. {_OFFERED}"


def _ask(operation: Operation, ctx: Context, members: dict[str, Any]) -> dict[str, Any]:
    """Call an operation; what a room below refuses, in its own words, is a ValidationException."""
    try:
        with speaking(_DOOR):
            return operation(ctx, members)
    except VizslaError as error:
        raise invalid(_with_addresses(str(error), ctx)) from error
    except KeyError as error:
        raise invalid(f"1 validation error detected: {error} is missing in the request.") from error


def _with_addresses(text: str, ctx: Context) -> str:
    """With the ``s3://`` addresses that a client knows, where a room below names a bucket's folder."""
    folder = f"{ctx.home / BUCKETS}/"
    return text.replace(f"file://{folder}", "s3://").replace(folder, "s3://")
