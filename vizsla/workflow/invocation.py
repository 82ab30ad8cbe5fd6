"""Asking an endpoint of this machine about a file."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from pathlib import Path
from typing import Any

from vizsla.errors import UsageError, VizslaError
from vizsla.serving.access import API_KEYS
from vizsla.serving.endpoint_folder import EndpointFolder

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".json": "application/json"}


def invoke(
    folder: EndpointFolder,
    file: Path,
    *,
    content_type: str | None = None,
    accept: str | None = None,
    target_model: str | None = None,
    variant: str | None = None,
) -> tuple[Any, str]:
    """Ask an endpoint about a file; its answer, and the variant that gave it.

    Raises
    ------
    VizslaError
        When it refuses, or is not in service.
    """
    config = folder.config()
    try:
        body = file.read_bytes()
    except OSError as error:
        raise UsageError(f"The file cannot be read: {error.strerror}.", where=file) from error
    headers = {"Content-Type": content_type or _TYPES.get(file.suffix.lower(), "application/x-image")}
    headers |= {"Accept": accept or "application/json;form=object"}
    for name, value in (("Target-Model", target_model), ("Target-Variant", variant)):
        if value is not None:
            headers[f"X-Amzn-SageMaker-{name}"] = value
    if keys := os.environ.get(API_KEYS, "").split(","):
        headers |= {"Authorization": f"Bearer {keys[0].strip()}"} if keys[0].strip() else {}
    connection = http.client.HTTPConnection(config.host, config.port, timeout=120)
    try:
        connection.request("POST", f"/endpoints/{folder.name}/invocations", body, headers)
        response = connection.getresponse()
        content = response.read()
    except OSError as error:
        raise VizslaError(
            f"The endpoint {folder.name} does not answer ({folder.status()}): {error}.",
            where=f"http://{config.host}:{config.port}",
            do=f"`vizsla endpoints start {folder.name}` starts it; `vizsla endpoints logs {folder.name}` tells more",
        ) from error
    finally:
        connection.close()
    if response.status != 200:
        document = json.loads(content)
        with contextlib.suppress(ValueError, KeyError):
            document = json.loads(document["OriginalMessage"])
        raise VizslaError(str(document.get("Message")), where=file, do=document.get("Do"))
    served_by = response.getheader("x-Amzn-Invoked-Production-Variant", "")
    try:
        return json.loads(content), served_by
    except ValueError:
        return content.decode("utf-8", "replace"), served_by
