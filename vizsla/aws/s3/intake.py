"""Bodies on their way in: small documents into memory, content into a file, a block at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.body import Body
from vizsla.aws.s3.calls import Content
from vizsla.aws.s3.checksums import Checks
from vizsla.aws.s3.request import Request

QUICK_BYTES = 256 << 10
"""Bytes that are read or written at once: on a busy machine a thread gets its turn later than they take. Of a larger
body so many are in memory before a thread checks and writes them."""
_MOST_DOCUMENT = 4 << 20
_Result = TypeVar("_Result")


async def in_thread(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call what may block."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


async def document(request: Request, body: Body, *, summed: bool = True) -> bytes:
    """A small body, checked; ``summed``: also by its ``x-amz-checksum-``.

    Raises
    ------
    AwsError
        MaxMessageLengthExceeded, and as :meth:`Checks.finish`.
    """
    checks = Checks(request.headers, summed=summed)
    data = bytearray()
    async for piece in body:
        data += piece
        if len(data) > _MOST_DOCUMENT:
            raise AwsError("MaxMessageLengthExceeded", f"Your request was too big: {_MOST_DOCUMENT} bytes are allowed.")
    checks.update(bytes(data))
    checks.finish(body.trailers)
    return bytes(data)


async def content(request: Request, body: Body, path: Path, then: Callable[[Content], _Result]) -> _Result:
    """Write a body to ``path``, check it, and go on with it.

    Raises
    ------
    AwsError
        As :meth:`Checks.finish`, and what ``then`` raises.
    """
    intake = _Intake(path, Checks(request.headers))
    pieces: list[bytes] = []
    held = 0
    try:
        async for piece in body:
            pieces.append(piece)
            held += len(piece)
            if held >= QUICK_BYTES:
                await in_thread(intake.take, pieces)
                pieces, held = [], 0
        if not intake.begun:
            return intake.finish(pieces, body.trailers, then)
        return await in_thread(intake.finish, pieces, body.trailers, then)
    finally:
        intake.close()


class _Intake:
    def __init__(self, path: Path, checks: Checks) -> None:
        self._path, self._checks = path, checks
        self._file: IO[bytes] | None = None

    @property
    def begun(self) -> bool:
        return self._file is not None

    def take(self, pieces: list[bytes]) -> IO[bytes]:
        if self._file is None:
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by close
        for piece in pieces:
            self._checks.update(piece)
            rest = memoryview(piece)
            while rest:  # a nearly full disk takes a part
                rest = rest[self._file.write(rest) :]
        return self._file

    def finish(self, pieces: list[bytes], trailers: dict[str, str], then: Callable[[Content], _Result]) -> _Result:
        file = self.take(pieces)
        found = self._checks.finish(trailers)
        return then(Content(self._path, file.fileno(), self._checks.size, self._checks.md5, found))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
