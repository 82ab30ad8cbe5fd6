"""Where Ray Serve listens: where it is asked to, or, when it runs in a cluster already, where it was first asked to.

Imports Ray: only where replicas are served.
"""

from __future__ import annotations

import ipaddress
import socket
from types import ModuleType
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client

from vizsla.cluster import head
from vizsla.errors import JobError, UsageError
from vizsla.parameters import spelled
from vizsla.serving.access import is_loopback
from vizsla.serving.server import ServeOptions


def started(options: ServeOptions, **more: Any) -> None:
    """Start Ray Serve with its proxy, where it does not run already.

    Raises
    ------
    JobError
        When it runs without a proxy.
    UsageError
        When its proxy lets others ask than this machine, and no key is wanted because ``options`` do not.
    """
    serve.start(http_options={"host": options.host, "port": options.port}, **more)
    there = _listening()
    if there.host is None:
        raise JobError(
            "Ray Serve runs on the cluster already, without a proxy for HTTP.",
            do="end it by `serve shutdown` there, or start it with one",
        )
    if is_loopback(options.host) and not is_loopback(there.host):
        raise UsageError(
            f"Ray Serve runs on the cluster already and listens on {there.host}, where others can ask, too.",
            parameter="host",
            do=f"say {spelled('host', there.host)}: that asks for keys",
        )


def place_of(ray: ModuleType, options: ServeOptions) -> str:
    """The address of the proxy; with the node, where it can be reached there alone, and with the port that was asked
    for in vain."""
    there, (name, address) = _listening(), head(ray)
    host = address if _is_everywhere(there.host) else there.host
    words = f"http://{f'[{host}]' if ':' in host else host}:{there.port}{there.root_path}"
    if is_loopback(there.host) and name != socket.gethostname():
        words += f" on {name}"
    if there.port != options.port:
        words += f" (where Ray Serve listened already, and not at port {options.port})"
    return words


def _listening() -> Any:
    """The options of the proxy that runs."""
    return _get_global_client().http_config


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
