"""SageMaker's two contracts as routes: the container's (one model, many models) and the Runtime API's."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vizsla.serving.backbones import ServedModel
from vizsla.serving.door import record_of
from vizsla.serving.faults import ClientGoneError, RequestError, as_request_error
from vizsla.serving.service import Invocation, Service
from vizsla.serving.shelves import S3Shelf

_ENDPOINT = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_PAGE = 100
_HEADER = "x-amzn-sagemaker-"

_HEADER_LIMITS = {
    "custom-attributes": (1024, re.compile(r"[\x00-\x7f]*")),
    "target-model": (1024, re.compile(r"[\x21-\x7e]*")),
    "target-variant": (63, re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")),
    "inference-id": (64, re.compile(r"\S[\x20-\x7e]*")),
    "enable-explanations": (64, re.compile(r".+")),
}
"""Header to its longest length and its pattern, from the service model of sagemaker-runtime."""

_ELSEWHERE = {
    "inference-component": "InferenceComponentName is not offered: a model is named by TargetModel.",
    "target-container-hostname": "TargetContainerHostname is not offered: the endpoint is one container.",
    "session-id": "SessionId is not offered: the endpoint keeps no sessions.",
}
"""Headers of InvokeEndpoint that would be answered by another model than the one that is meant."""

WARNINGS = "X-Vizsla-Warnings"
"""The header of an answer that names pictures part of whose data is broken, by their places from 0 (RFC 9651)."""
CLASSES = "X-Vizsla-Classes"
"""The header of an answer that holds numbers in class order: the classes in that order, percent-encoded."""

_EXPLAIN = {"`true`": True, "true": True, "`false`": False, "false": False}


class Container:
    """What runs inside SageMaker's hosting: probes, invocations, and the loading of models."""

    def __init__(self, service: Service, *, max_payload: int, concurrency: int) -> None:
        self._service = service
        self._parameters = {
            "MaxConcurrentTransforms": concurrency,
            "BatchStrategy": "SINGLE_RECORD",
            "MaxPayloadInMB": max(1, max_payload // 2**20),
        }
        self.routes = [
            Route("/ping", self.ping, methods=["GET"]),
            Route("/invocations", self.invocations, methods=["POST"]),
            Route("/execution-parameters", self.execution_parameters, methods=["GET"]),
            _by_method("/models", GET=self.list_models, POST=self.load_model),
            Route("/models/{name:path}/invoke", self.invoke_model, methods=["POST"]),
            _by_method("/models/{name:path}", GET=self.show_model, DELETE=self.unload_model),
        ]

    async def ping(self, request: Request) -> Response:
        """The platform's probe."""
        record_of(request.scope).route = "ping"
        await self._service.check_default()
        return Response(status_code=200)

    async def invocations(self, request: Request) -> Response:
        """Classify with the server's model, or the one that Target-Model names."""
        record_of(request.scope).route = "invocations"
        return (await answer_by_variant(self._service, request, None))[0]

    async def invoke_model(self, request: Request) -> Response:
        """Classify with a model that is loaded."""
        record_of(request.scope).route = "models"
        return await answer(self._service, request, request.path_params["name"], load=False)

    async def execution_parameters(self, request: Request) -> Response:
        """What a batch transform asks before it begins."""
        return JSONResponse(self._parameters)

    async def list_models(self, request: Request) -> Response:
        """The loaded models, a page at a time."""
        names = [(m.name, m.url) for m in self._service.pool.loaded()]
        after = _token(request.query_params.get("next_page_token"))
        rest = [pair for pair in names if after is None or pair[0] > after]
        document: dict[str, Any] = {"models": [{"modelName": name, "modelUrl": url} for name, url in rest[:_PAGE]]}
        if len(rest) > _PAGE:
            document["nextPageToken"] = base64.urlsafe_b64encode(rest[_PAGE - 1][0].encode()).decode()
        return JSONResponse(document)

    async def load_model(self, request: Request) -> Response:
        """Load a model from the models' folder."""
        record = record_of(request.scope)
        record.route = "models"
        try:
            document = json.loads(request.scope["vizsla.body"])
            name, url = document["model_name"], document["url"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RequestError(
                "body-malformed", "The body names no model.", allowed='{"model_name": "...", "url": "..."}'
            ) from error
        named = isinstance(name, str) and 0 < len(name) <= 1024 and name.isprintable()
        if not named or not isinstance(url, str) or not url.isprintable():
            raise RequestError(
                "body-malformed", "model_name and url must be texts.", allowed="1 to 1,024 printable characters"
            )
        record.model = name
        if isinstance(self._service.pool.shelf, S3Shelf):
            raise RequestError(
                "target-name",
                "Models under an s3:// prefix are not loaded by POST /models.",
                do="name the model in TargetModel: its first request loads it",
            )
        model = await self._service.pool.load(name, url)
        return JSONResponse({"modelName": model.name, "modelUrl": model.url})

    async def show_model(self, request: Request) -> Response:
        """A loaded model, and its classes in the order of its answers."""
        record_of(request.scope).route = "models"
        model = await self._service.pool.find(request.path_params["name"])
        if model is None:
            raise RequestError("target-unknown", f"The model {request.path_params['name'][:200]!r} is not loaded.")
        document: dict[str, Any] = {"modelName": model.name, "modelUrl": model.url}
        if isinstance(model, ServedModel):  # code of its own knows its classes alone
            document["classes"] = list(model.labels.classes)
        return JSONResponse(document)

    async def unload_model(self, request: Request) -> Response:
        """Unload a model."""
        record_of(request.scope).route = "models"
        await self._service.pool.unload(request.path_params["name"])
        return JSONResponse({})


class Runtime:
    """What clients call: InvokeEndpoint of the Runtime API."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route("/endpoints/{endpoint}/invocations", self.invoke_endpoint, methods=["POST"])]

    async def invoke_endpoint(self, request: Request) -> Response:
        """Classify, as ``boto3.client("sagemaker-runtime").invoke_endpoint`` asks for it."""
        record = record_of(request.scope)
        record.route = "runtime"
        record.inference_id = _header(request, "inference-id")
        self._check_endpoint(request.path_params["endpoint"])
        for name, words in _ELSEWHERE.items():
            if request.scope["vizsla.headers"].get(_HEADER + name):
                raise RequestError("header", words, where=f"header X-Amzn-SageMaker-{name.title()}", do="leave it out")
        response, variant = await answer_by_variant(self._service, request, _header(request, "target-variant"))
        response.headers["x-Amzn-Invoked-Production-Variant"] = variant
        return response

    def _check_endpoint(self, name: str) -> None:
        expected = self._service.endpoint_name
        if not _ENDPOINT.fullmatch(name):
            raise RequestError(
                "endpoint-unknown",
                f"{name[:100]!r} is no endpoint's name.",
                allowed="letters, digits and -, at most 63",
            )
        if expected is not None and name != expected:
            raise RequestError("endpoint-unknown", f"Endpoint {name} of account local not found.", allowed=expected)


def _by_method(path: str, **calls: Callable[[Request], Awaitable[Response]]) -> Route:
    """One route for all the methods of a path, so that what refuses another names them all."""

    async def call(request: Request) -> Response:
        return await calls["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, call, methods=[*calls])


async def answer_by_variant(service: Service, request: Request, wanted: str | None) -> tuple[Response, str]:
    """What one of the variants says, and which: noted, and captured where that is asked."""
    choice, began = service.choose(wanted), time.perf_counter()
    sent = request.scope["vizsla.body"]
    try:
        response = await answer(service, request, _header(request, "target-model") or choice.target)
    except Exception as error:
        failed = as_request_error(error).fault.status >= 500 and not isinstance(error, ClientGoneError)
        service.note(choice, failed=failed, seconds=time.perf_counter() - began)
        raise
    service.note(choice, failed=False, seconds=time.perf_counter() - began)
    if service.capture is not None:
        record = record_of(request.scope)
        service.capture.take(
            choice.variant,
            sent=(sent, request.scope["vizsla.headers"].get("content-type", "")),
            answered=(bytes(response.body), response.headers["content-type"]),
            inference_id=record.inference_id,
            event_id=record.request_id,
        )
    return response, choice.variant


async def answer(service: Service, request: Request, target: str | None, *, load: bool = True) -> Response:
    """What the model says, with the headers that the contract gives an answer."""
    headers = request.scope["vizsla.headers"]
    invocation = Invocation(
        target,
        request.scope["vizsla.body"],
        headers.get("content-type", ""),
        ", ".join(filter(None, request.headers.getlist("accept"))) or None,  # one list (RFC 9110, section 5.3)
        _explain(_header(request, "enable-explanations")),
        headers.get("content-encoding", ""),
    )
    record = record_of(request.scope)
    content, content_type = await service.invoke(invocation, record, request.scope, load=load)
    response = Response(content, headers={"content-type": content_type})
    if record.broken:
        response.headers[WARNINGS] = f'corrupt-data;pictures="{" ".join(map(str, record.broken))}"'
    if record.classes is not None:
        response.headers[CLASSES] = record.classes
    attributes = _header(request, "custom-attributes")
    if attributes is not None:
        response.headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    return response


def _header(request: Request, name: str) -> str | None:
    value: str | None = request.scope["vizsla.headers"].get(_HEADER + name)
    if not value:
        return None
    longest, pattern = _HEADER_LIMITS[name]
    if len(value) > longest or not pattern.fullmatch(value):
        raise RequestError(
            "header",
            f"The header's value cannot be meant: {value[:100]!r}.",
            where=f"header X-Amzn-SageMaker-{name.title()}",
            allowed=f"at most {longest} characters, matching {pattern.pattern}",
        )
    return value


def _explain(value: str | None) -> bool:
    if value is None:
        return False
    if value not in _EXPLAIN:
        raise RequestError(
            "header",
            f"{value!r} cannot be evaluated.",
            where="header X-Amzn-SageMaker-Enable-Explanations",
            allowed=", ".join(_EXPLAIN),
        )
    return _EXPLAIN[value]


def _token(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise RequestError("header", f"{text[:100]!r} is no page token.", where="next_page_token") from error
