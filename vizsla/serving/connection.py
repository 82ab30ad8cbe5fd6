"""uvicorn's HTTP connection, with patience that ends.

uvicorn waits for ever for a client that sends its request slowly, and drops the answer of one that has closed its
sending side. Both matter here: the first ties up connections, the second is how some clients end a request.
"""

from __future__ import annotations

import asyncio
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 15.0
"""Time for a request's headers, and for a new connection to begin one."""
BODY_SECONDS = 60.0
"""Time for a request's body."""
UPLOAD_DRAIN_SECONDS = 2.0
"""Time for a body that is still coming when the server is told to stop."""
MAX_HEADER_BYTES = 65_536
WRITE_SECONDS = 60.0
"""Time that a client may leave its answers unread."""
MAX_AHEAD = 1024
"""Requests that a client may send before the first one's answer."""


class _Flow(FlowControl):
    """Reads nothing while ``connection`` has whole requests that wait: what is sent ahead is counted by nobody."""

    def __init__(self, transport: asyncio.Transport, connection: PatientConnection) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.pipeline and self._connection.refusal is None:
            super().resume_reading()


class PatientConnection(HttpToolsProtocol):
    """Bounds the headers in time and size, answers half-closed clients, and marks the requests of those that left."""

    refusal: bytes | None = None
    """The connection's last answer, for what followed the requests that are still in work."""

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = True
    _too_large = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers are complete."""
        if self.refusal is not None:
            return
        if self._in_headers:
            self._header_bytes += len(data)
            if self._timer is None:
                self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._parse(data)
        if not self._in_headers and self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(BODY_SECONDS, self._give_up)
        if self._in_headers and self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def _parse(self, data: bytes) -> None:
        """Feed the parser. It gives up at a request that offers another protocol: the offer is passed over (RFC 9110,
        7.8: a server may), and a new parser reads the request's head without it and goes on with its body."""
        rest = memoryview(data)
        try:
            while True:
                try:
                    self.parser.feed_data(rest)
                    return
                except HttpParserUpgrade as offer:
                    rest = rest[offer.args[0] :]
                    head = self._head_without_offer()
                    self.parser = HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
                    self.parser.feed_data(head)
        except HttpParserError:
            if self._too_large:
                self._refuse_head()
            else:
                self.send_400_response("Invalid HTTP request received.")

    def _head_bytes(self) -> int:
        """The request's line and its headers: what is between them counts as four bytes for each."""
        return len(self.url) + sum(4 + len(name) + len(value) for name, value in self.headers)

    def _head_without_offer(self) -> bytes:
        """The head of the request that has been parsed last."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        if self._head_bytes() > MAX_HEADER_BYTES:  # also what came at once
            self._too_large = True
            raise ValueError("too large a head")  # the parser ends with an error, which is answered
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("no proxy")  # as above
            return
        self._in_headers, self._header_bytes = False, 0
        self._stop_timer()
        if len(self.pipeline) >= MAX_AHEAD:
            raise ValueError("too many requests at once")  # as above
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are another request's headers."""
        if self.parser.should_upgrade():
            return
        self._in_headers, self._header_bytes = True, 0
        self._stop_timer()
        super().on_message_complete()
        self.flow.resume_reading()  # paused by a large body: a client that leaves would not be noticed

    def on_response_complete(self) -> None:
        """Go on with what was sent ahead; the last answer of a connection that is refused follows the others."""
        last = not self.pipeline
        super().on_response_complete()
        if self.refusal is not None:
            if last and not self.transport.is_closing():
                self._end(self.refusal)
        elif not last:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read: not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._stop_unread()

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def eof_received(self) -> Any:
        """Keep the connection for the answer when the whole request has come."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            cycle.keep_alive = False
            return True
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the queue that nobody waits for the answer any more."""
        self._stop_timer()
        self._stop_unread()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.scope["vizsla.gone"] = True  # type: ignore[typeddict-unknown-key]
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: what has come is answered, what is still coming gets a little time."""
        super().shutdown()
        if self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete:
            self.loop.call_later(UPLOAD_DRAIN_SECONDS, self._stop_reading)

    def _stop_reading(self) -> None:
        reading: asyncio.Task[None] | None = self.cycle.scope.get("vizsla.reading")  # type: ignore[assignment]
        if reading is not None:
            reading.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the service's shape."""
        self._refuse(b"400 Bad Request", msg.encode("ascii", "replace"))

    def _refuse_head(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", b"The headers are larger than 64 KiB.")

    def _give_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._refuse(b"408 Request Timeout", b"The request's headers took too long.")
        elif self.cycle is not None and not self.cycle.response_started:
            self._refuse(b"408 Request Timeout", b"The request's body took too long.")
        else:
            self.transport.close()

    def _refuse(self, status: bytes, words: bytes) -> None:
        body = b'{"Message": "' + words + b'", "ErrorCode": "http"}'
        answer = (
            b"HTTP/1.1 " + status + b"\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        broken = self.cycle is not None and self.cycle.more_body
        if broken and self.pipeline:
            self.pipeline.popleft()  # the newest, which will never be whole: those before it are
        elif self.cycle is None or self.cycle.response_complete or broken:
            self._end(answer)
            return
        self.refusal = answer
        self._stop_timer()
        self.flow.pause_reading()

    def _end(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
