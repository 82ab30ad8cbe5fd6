"""InvokeEndpoint over all endpoints behind one port: a request goes to the endpoint's own server, its answer back."""

from __future__ import annotations

import http.client
import re
import threading
from collections import defaultdict
from collections.abc import Iterable

from starlette.responses import Response

from vizsla.aws.context import Context
from vizsla.aws.errors import AwsError

PATH = re.compile(r"/endpoints/(?P<name>[^/]+)/(?P<call>invocations|async-invocations|invocations-response-stream)")
_TIMEOUT_SECONDS = 70.0
_OF_THE_CONNECTION = frozenset(("connection", "transfer-encoding", "keep-alive", "content-length", "date", "server"))
_TARGET_MODEL = "x-amzn-sagemaker-target-model"

Headers = Iterable[tuple[bytes, bytes]]


class Connections:
    """Connections to the endpoints' servers, kept for the next request."""

    def __init__(self) -> None:
        self._idle: dict[int, list[http.client.HTTPConnection]] = defaultdict(list)
        self._lock = threading.Lock()

    def ask(self, port: int, path: str, headers: dict[str, str], body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        """Send a request; a connection that the server has closed since is not the request's fault."""
        while (connection := self._take(port)) is not None:
            try:
                return self._ask(connection, port, path, headers, body)
            except (http.client.RemoteDisconnected, ConnectionError):
                connection.close()
        fresh = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        return self._ask(fresh, port, path, headers, body)

    def _take(self, port: int) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle[port].pop() if self._idle[port] else None

    def _ask(
        self, connection: http.client.HTTPConnection, port: int, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        content = response.read()
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle[port].append(connection)
        return response, content


_CONNECTIONS = Connections()


def invoke(ctx: Context, path: str, raw_path: str, headers: Headers, body: bytes) -> Response:
    """Ask the endpoint that a path names. Blocks.

    Raises
    ------
    AwsError
        When there is no such endpoint, or another call of the Runtime API is meant.
    """
    from vizsla.aws.sagemaker.endpoints import port_of  # with all that starts servers

    match = PATH.fullmatch(path)
    if match is None or match["call"] != "invocations":
        raise AwsError("ValidationError", f"{path} is not offered: of the Runtime API there is InvokeEndpoint.")
    port = port_of(ctx, match["name"])
    sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    sent = {name: value for name, value in sent.items() if name.lower() not in ("connection", "expect")}
    if _TARGET_MODEL in sent:  # the SDK may give it with a slash before it
        sent[_TARGET_MODEL] = sent[_TARGET_MODEL].lstrip("/")
    try:
        answer, content = _CONNECTIONS.ask(port, raw_path, sent, body)
    except TimeoutError as error:
        raise AwsError("ModelError", f"The endpoint gave no answer within {_TIMEOUT_SECONDS:g} s.", 424) from error
    except OSError as error:
        raise AwsError("ServiceUnavailable", f"The endpoint's server does not answer: {error}.", 503) from error
    response = Response(content, answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in _OF_THE_CONNECTION:
            response.headers[name] = value
    return response
