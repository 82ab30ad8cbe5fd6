"""The body of a request as it comes in: plain, or in chunks of ``aws-chunked`` with signatures and trailers."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.request import Request
from vizsla.serving.sigv4 import Signature

_LONGEST_LINE = 16_384
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


class ClientGoneError(Exception):
    """The connection ended before the body."""


class Body:
    """Iterates over the bytes of the content; :attr:`trailers` and :attr:`ended` are set when it has been read.

    Raises
    ------
    AwsError
        IncompleteBody for another length than was announced, SignatureDoesNotMatch for a chunk, and for what is no
        aws-chunked body.
    ClientGoneError
        When the client leaves.
    """

    def __init__(self, request: Request, receive: Any, signed: Signature | None) -> None:
        self.trailers: dict[str, str] = {}
        self.ended = False
        """Whether all of it was taken from the connection."""
        self.begun = False
        """Whether any of it was asked for: a client that waits for that has been told to go on."""
        self._receive = receive
        headers = request.headers
        kind = headers.get("x-amz-content-sha256", "")
        encodings = [part.strip().lower() for part in headers.get("content-encoding", "").split(",")]
        self._chunked = kind.startswith("STREAMING-") or "aws-chunked" in encodings
        self._announced = _length(headers, "x-amz-decoded-content-length" if self._chunked else "content-length")
        if self._announced is None and (self._chunked or "transfer-encoding" not in headers):
            if self._chunked:
                raise AwsError("MissingContentLength", "You must provide x-amz-decoded-content-length.", 411)
            self._announced = 0
        self._signed = signed if kind.startswith("STREAMING-AWS4-HMAC-SHA256-PAYLOAD") else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._dechunked() if self._chunked else self._plain():
            size += len(data)
            if self._announced is not None and size > self._announced:
                raise _length_lie(f"more than the {self._announced} bytes that were announced came")
            yield data
        if self._announced is not None and size != self._announced:
            raise _length_lie(f"{size} of {self._announced} announced bytes came")

    async def _plain(self) -> AsyncIterator[bytes]:
        self.begun = True
        while not self.ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self.ended = not message.get("more_body", False)
            if data := message.get("body", b""):
                yield data

    async def _dechunked(self) -> AsyncIterator[bytes]:
        """``size[;chunk-signature=..]\\r\\n`` and the bytes, again and again; after size 0, trailers."""
        source = _Buffer(self._plain())
        previous = self._signed.signature if self._signed else ""
        while True:
            match = _SIZE.fullmatch(await source.line())
            if match is None:
                raise _malformed("a chunk begins with its size")
            left = int(match[1], 16)
            last = left == 0
            digest = hashlib.sha256() if self._signed else None
            while left:
                data = await source.some(left)
                left -= len(data)
                if digest is not None:
                    digest.update(data)
                yield data
            if self._signed is not None and digest is not None:
                claimed = (match[2] or b"").decode()
                previous = _proved(self._signed.chunk(previous, digest.hexdigest()), claimed)
            if last:
                break
            if await source.line():
                raise _malformed("a chunk ends with CR LF")
        await self._read_trailers(source, previous)
        async for _ in self._plain():  # what follows the end of the content, such as nothing
            raise _malformed("there is more after its end")

    async def _read_trailers(self, source: _Buffer, previous: str) -> None:
        signature = ""
        while line := await source.line(at_end=b""):
            name, separator, value = line.decode("latin-1").partition(":")
            if not separator:
                raise _malformed("a trailer has a name and a value")
            if name.lower() == "x-amz-trailer-signature":
                signature = value.strip()
            else:
                self.trailers[name.strip().lower()] = value.strip()
        if self._signed is not None and self.trailers:
            text = "".join(f"{name}:{value}\n" for name, value in sorted(self.trailers.items()))
            _proved(self._signed.trailer(previous, hashlib.sha256(text.encode()).hexdigest()), signature)


class _Buffer:
    """Lines and bytes of a stream."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._held = b""

    async def _more(self) -> bool:
        async for data in self._stream:
            self._held += data
            return True
        return False

    async def line(self, at_end: bytes | None = None) -> bytes:
        """The next line without its end; ``at_end`` where nothing comes any more."""
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > _LONGEST_LINE:
                raise _malformed("a line is too long")
            if not await self._more():
                if at_end is not None and not self._held:
                    return at_end
                raise _length_lie("it ends within a chunk")
        line, self._held = self._held[:end], self._held[end + 2 :]
        return line

    async def some(self, most: int) -> bytes:
        """At least one and at most ``most`` bytes."""
        if not self._held and not await self._more():
            raise _length_lie("it ends within a chunk")
        data, self._held = self._held[:most], self._held[most:]
        return data


def _length(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,15}", text):
        raise AwsError("InvalidArgument", f"The header {name} is no number of bytes: {text[:50]!r}.")
    return int(text)


def _proved(computed: str, claimed: str) -> str:
    if not hmac.compare_digest(computed, claimed):
        raise AwsError("SignatureDoesNotMatch", "The signature of a chunk of the body does not match it.", 403)
    return computed


def _length_lie(words: str) -> AwsError:
    return AwsError("IncompleteBody", f"The body is not as long as its headers say: {words}.")


def _malformed(words: str) -> AwsError:
    return AwsError("InvalidRequest", f"The body is not aws-chunked: {words}.")
