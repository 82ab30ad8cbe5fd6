"""The description of the service (OpenAPI 3.1), for tools and for the tests that are generated from it."""

from __future__ import annotations

from typing import Any

from vizsla.serving.answers import FORMS
from vizsla.serving.bodies import BINARY_TYPES, MAX_PICTURES
from vizsla.version import VERSION

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BASE64 = {"type": "string", "contentEncoding": "base64"}


def _object_of(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: schema}}


_PICTURE = [_object_of("image", _BASE64), _object_of("b64", _BASE64), _object_of("url", {"type": "string"})]
_SEVERAL = {"type": "array", "minItems": 1, "maxItems": MAX_PICTURES, "items": {"anyOf": [_BASE64, *_PICTURE]}}
_PICTURES: dict[str, Any] = {
    **dict.fromkeys(BINARY_TYPES, _BINARY),
    "application/json": {
        "schema": {"anyOf": [*_PICTURE, _object_of("images", _SEVERAL), _object_of("instances", _SEVERAL)]}
    },
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": {"type": "string", "format": "binary"}},
        }
    },
}

_ANY = (403,)
_BODY = (400, 408, 413, 503)
_INVOKE = (*_ANY, *_BODY, 404, 406, 415, 500, 504, 507)
_RUNTIME = (*_ANY, *_BODY, 424, 429, 500)
"""The Runtime API wraps what a container refuses into 424."""


def _operation(
    summary: str,
    *,
    ok: dict[str, Any],
    errors: tuple[int, ...] = _ANY,
    free: bool = False,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {"summary": summary, "parameters": parameters or []}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    error = {"description": "what was wrong", "content": {"application/json": {"schema": {"$ref": _ERROR_REF}}}}
    operation["responses"] = {"200": ok, **{str(status): error for status in sorted(errors)}}
    if free:
        operation["security"] = []
    return operation


_TEXT = {"type": "string"}
_MODEL = {
    "type": "object",
    "required": ["modelName", "modelUrl"],
    "properties": {"modelName": _TEXT, "modelUrl": _TEXT, "classes": {"type": "array", "items": _TEXT}},
}
_ERROR_REF = "#/components/schemas/Error"


def _parameter(name: str, place: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string", **schema}}


def document() -> dict[str, Any]:
    """The description, as plain JSON values."""
    answered = {
        "description": "the answer, as Accept asks",
        "content": {media: {} for media in FORMS if ";" not in media},
        "headers": {
            "X-Vizsla-Warnings": {
                "description": 'Pictures part of whose data is broken, by their places: corrupt-data;pictures="0 3".',
                "schema": {"type": "string"},
            },
            "X-Vizsla-Classes": {
                "description": "The classes in the order of the numbers, percent-encoded, with commas between; absent "
                "when the answer names them, when they are more than 3,072 bytes (see /models/{name}), and from models "
                "with code of their own.",
                "schema": {"type": "string"},
            },
        },
    }
    json_answer = {"description": "done", "content": {"application/json": {"schema": {"type": "object"}}}}
    target = _parameter("X-Amzn-SageMaker-Target-Model", "header", maxLength=1024, pattern="^[!-~]*$")
    explain = _parameter("X-Amzn-SageMaker-Enable-Explanations", "header", enum=["`true`", "`false`", "true", "false"])
    accept = _parameter("Accept", "header", enum=list(FORMS))
    model = _parameter("name", "path", required=True, minLength=1)
    load = {
        "type": "object",
        "required": ["model_name", "url"],
        "properties": {"model_name": {"type": "string", "minLength": 1}, "url": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Vizsla endpoint", "version": VERSION},
        "paths": {
            "/ping": {
                "get": _operation(
                    "Whether the server is there, and its one model can answer.",
                    ok={"description": "it is"},
                    errors=(*_ANY, 500),
                    free=True,
                )
            },
            "/invocations": {
                "post": _operation(
                    "Classify pictures (container contract).",
                    ok=answered,
                    errors=_INVOKE,
                    parameters=[target, explain, accept],
                    body=_PICTURES,
                )
            },
            "/endpoints/{endpoint}/invocations": {
                "post": _operation(
                    "Classify pictures (InvokeEndpoint of the SageMaker Runtime API).",
                    ok=answered,
                    errors=_RUNTIME,
                    parameters=[
                        _parameter("endpoint", "path", required=True, pattern="^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"),
                        target,
                        explain,
                        accept,
                    ],
                    body=_PICTURES,
                )
            },
            "/execution-parameters": {"get": _operation("What a batch transform should know.", ok=json_answer)},
            "/models": {
                "get": _operation(
                    "The loaded models.",
                    ok=json_answer,
                    errors=(*_ANY, 400),
                    parameters=[_parameter("next_page_token", "query")],
                ),
                "post": _operation(
                    "Load a model.",
                    ok=json_answer,
                    errors=(*_ANY, *_BODY, 404, 409, 500, 507),
                    body={"application/json": {"schema": load}},
                ),
            },
            "/models/{name}": {
                "get": _operation(
                    "A loaded model, with its classes in the order of its answers.",
                    ok={"description": "it is loaded", "content": {"application/json": {"schema": _MODEL}}},
                    errors=(*_ANY, 404),
                    parameters=[model],
                ),
                "delete": _operation(
                    "Unload a model.", ok=json_answer, errors=(*_ANY, *_BODY, 404, 409), parameters=[model]
                ),
            },
            "/models/{name}/invoke": {
                "post": _operation(
                    "Classify pictures with a loaded model.",
                    ok=answered,
                    errors=_INVOKE,
                    parameters=[model, explain, accept],
                    body=_PICTURES,
                )
            },
            "/status": {
                "get": _operation("Loaded models, their classes in order, and recent requests.", ok=json_answer)
            },
            "/metrics": {
                "get": _operation("For Prometheus.", ok={"description": "metrics", "content": {"text/plain": {}}})
            },
        },
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["Message"],
                    "properties": {"Message": {"type": "string"}, "ErrorCode": {"type": "string"}},
                }
            },
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "signature": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "AWS SigV4"},
            },
        },
        "security": [{}, {"key": []}, {"bearer": []}, {"signature": []}],
    }
