"""The model that a request names, by its header or its path alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TARGET = b"x-amzn-sagemaker-target-model"
_PATH = re.compile(r"/models/(.+?)(?:/invoke)?")


def named_model(scope: Mapping[str, Any]) -> str | None:
    """The name in an ASGI scope; None where there is none."""
    for name, value in scope["headers"]:
        if name.lower() == _TARGET:
            return str(value.decode("latin-1"))
    match = _PATH.fullmatch(scope["path"])
    return None if match is None else match[1]
