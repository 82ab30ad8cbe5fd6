"""Where Ray Serve listens: where it is asked to, unless it runs in the cluster already; then it has to be there.

Imports Ray: only where replicas are served.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import time
import urllib.request
from types import ModuleType
from typing import Any
from urllib.error import HTTPError

from ray import serve

from vizsla.cluster import ON_HEAD, head
from vizsla.errors import JobError
from vizsla.parameters import spelled
from vizsla.serving.access import is_loopback
from vizsla.serving.server import ServeOptions

_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.2


def start(ray: ModuleType, options: ServeOptions, **more: Any) -> None:
    """Start Ray Serve with its proxy, where it does not run already.

    Raises
    ------
    JobError
        When it cannot listen there; when it runs already, and listens elsewhere or not at all: its place cannot be
        changed.
    """
    address = _address(ray, options)
    try:
        serve.start(http_options={"host": options.host, "port": options.port}, **more)
    except (RuntimeError, TimeoutError) as error:  # it has begun, and its proxy has not
        serve.shutdown()
        raise JobError(
            f"Ray Serve cannot listen at {address}: {str(error).strip().splitlines()[-1]}",
            do=f"choose another {spelled('port')} or {spelled('host')}",
        ) from error
    if not ray.get(ray.remote(_listens).options(**ON_HEAD).remote(address)):
        raise JobError(
            f"Ray Serve runs on the cluster already, and does not listen at {address}.",
            do="say the host and port at which it listens (port 8000, where nobody chose), or `serve shutdown` there",
        )


def place_of(ray: ModuleType, options: ServeOptions) -> str:
    """The address of the proxy, and the node, where it can be reached there alone."""
    words, (name, _) = _address(ray, options), head(ray)
    return f"{words} on {name}" if is_loopback(options.host) and name != socket.gethostname() else words


def _address(ray: ModuleType, options: ServeOptions) -> str:
    host = head(ray)[1] if _is_everywhere(options.host) else options.host
    return f"http://{f'[{host}]' if ':' in host else host}:{options.port}"


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _listens(address: str) -> bool:
    """On the head: whether Ray Serve answers at an address there. It tells its routes, once it knows them."""
    end = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            try:
                with urllib.request.urlopen(f"{address}/-/routes", timeout=_ANSWER_SECONDS) as answer:
                    return isinstance(json.load(answer), dict)
            except HTTPError as error:
                return error.code == 503
        time.sleep(_LOOK_SECONDS)
    return False
