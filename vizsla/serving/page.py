"""The doors for people and their tools: the page, the status, the metrics, the description of the service."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from vizsla.serving.backbones import ServedModel
from vizsla.serving.door import record_of
from vizsla.serving.loading import Served
from vizsla.serving.openapi import document
from vizsla.serving.service import Service
from vizsla.serving.telemetry import Telemetry
from vizsla.version import VERSION

_NAMES = 2000
"""Names of classes in one status, which the page reads after every picture."""
_PICTURE_SOURCES = "blob: data: http: https:"


class Page:
    """``/`` to try a picture, ``/status``, ``/metrics``, ``/openapi.json`` and ``/docs``."""

    def __init__(self, service: Service, telemetry: Telemetry, *, urls: bool) -> None:
        self._service = service
        self._telemetry = telemetry
        self._urls = urls
        telemetry.gauges |= {
            "models_loaded": ("Models in memory.", lambda: len(service.pool.loaded())),
            "model_bytes": ("Bytes that the loaded models count for.", lambda: service.pool.nbytes),
            "waiting": ("Pictures waiting.", lambda: service.workers.waiting),
        }
        self._page = resources.files("vizsla.serving").joinpath("page.html").read_text("utf-8")
        self._policy = {"content-security-policy": _policy(self._page), "x-content-type-options": "nosniff"}
        self._description = document()
        self.routes = [
            Route("/", self.page, methods=["GET"]),
            Route("/status", self.status, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
            Route("/docs", self.docs, methods=["GET"]),
            Route("/favicon.ico", self.icon, methods=["GET"]),
        ]

    async def page(self, request: Request) -> Response:
        """Drop a picture, see what the model says."""
        record_of(request.scope).route = "page"
        return HTMLResponse(self._page, headers=self._policy)

    async def status(self, request: Request) -> Response:
        """What the page shows beside a picture."""
        record_of(request.scope).route = "observe"
        models = self._service.pool.loaded()
        return JSONResponse(
            {
                "version": VERSION,
                "default": self._service.default,
                "urls": self._urls,
                "models": _described(models[:200], self._service.default),
                "models_loaded": len(models),
                "model_bytes": self._service.pool.nbytes,
                "waiting": self._service.workers.waiting,
                "recent": self._telemetry.recent(),
            }
        )

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        record_of(request.scope).route = "observe"
        return Response(self._telemetry.metrics(), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def openapi(self, request: Request) -> Response:
        """The service's description for tools."""
        record_of(request.scope).route = "page"
        return JSONResponse(self._description)

    async def docs(self, request: Request) -> Response:
        """The same for people; nothing is loaded from elsewhere."""
        record_of(request.scope).route = "page"
        return HTMLResponse(
            _readable(self._description),
            headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )

    async def icon(self, request: Request) -> Response:
        """Nothing: browsers ask by themselves."""
        record_of(request.scope).route = "observe"
        return Response(status_code=204)


def _described(models: Sequence[Served], default: str | None) -> list[dict[str, Any]]:
    """What the status says of models; of very many classes only how many they are, the default's names first."""
    room, names = _NAMES, {}
    for model in sorted(models, key=lambda model: model.name != default):
        if isinstance(model, ServedModel) and len(model.labels.classes) <= room:
            names[model.name] = list(model.labels.classes)
            room -= len(model.labels.classes)
    return [
        {
            "name": model.name,
            "classes": len(model.labels.classes) if isinstance(model, ServedModel) else None,
            "class_names": names.get(model.name),
            "backbone": model.backbone.name if isinstance(model, ServedModel) else "its own code",
        }
        for model in models
    ]


def _policy(page: str) -> str:
    """Only the page's own script runs (by its hash), and it talks to this server only."""
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = hashlib.sha256((script[1] if script else "").encode()).digest()
    return (
        f"default-src 'none'; script-src 'sha256-{base64.b64encode(digest).decode()}'; style-src 'unsafe-inline'; "
        f"img-src {_PICTURE_SOURCES}; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _readable(description: dict[str, object]) -> str:
    paths = description["paths"]
    rows = []
    for path, methods in paths.items() if isinstance(paths, dict) else ():
        for method, operation in methods.items():
            statuses = ", ".join(operation["responses"])
            bodies = ", ".join(operation.get("requestBody", {}).get("content", {}))
            rows.append(
                f"<tr><td><b>{method.upper()}</b></td><td><code>{html.escape(path)}</code></td>"
                f"<td>{html.escape(operation['summary'])}</td><td>{html.escape(bodies)}</td><td>{statuses}</td></tr>"
            )
    return (
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width, initial-scale=1'>"
        "<title>Vizsla: the endpoint's calls</title>"
        "<style>body{font:15px system-ui;margin:2rem;max-width:70rem}td,th{padding:.4rem .6rem;text-align:left;"
        "border-bottom:1px solid #ddd;vertical-align:top;overflow-wrap:break-word}"
        "@media(max-width:60rem){body{margin:1rem}th{display:none}td{display:block;border:0;padding:.1rem}"
        "td:last-child{border-bottom:1px solid #ddd;padding-bottom:.8rem}}</style><h1>The endpoint's calls</h1>"
        "<p>For tools: <a href=/openapi.json>openapi.json</a>. To try a picture: <a href=/>the page</a>.</p>"
        f"<table><tr><th><th>path<th>what it does<th>bodies<th>answers</tr>{''.join(rows)}</table>"
    )
