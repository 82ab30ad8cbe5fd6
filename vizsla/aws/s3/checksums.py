"""The checksums that S3 knows, while bytes come in: Content-MD5, the payload's SHA-256, and ``x-amz-checksum-*``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.crc import CRC32, CRC32C, CRC64NVME, Crc

HEADER = "x-amz-checksum-"
_BLOCK = 1 << 20
_CRCS = {"crc32": CRC32, "crc32c": CRC32C, "crc64nvme": CRC64NVME}


class Digest(Protocol):
    """What hashlib's objects do."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def digest(self) -> bytes:
        """The checksum of all of them."""
        ...


class _RunningCrc:
    def __init__(self, step: Callable[[bytes, int], int], size: int) -> None:
        self._step, self._size, self._value = step, size, 0

    def update(self, data: bytes) -> None:
        self._value = self._step(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "crc32": lambda: _RunningCrc(zlib.crc32, 4),
    "crc32c": lambda: _RunningCrc(CRC32C.of, 4),
    "crc64nvme": lambda: _RunningCrc(CRC64NVME.of, 8),
    "sha1": hashlib.sha1,
    "sha256": hashlib.sha256,
}
"""By the ends of the headers' names."""


def base64_of(digest: bytes) -> str:
    """As the headers have it."""
    return base64.b64encode(digest).decode()


def asked(headers: Mapping[str, str]) -> tuple[str, str | None] | None:
    """The algorithm that a request's headers name and the value they give; None for the value where it comes after
    the body.

    Raises
    ------
    AwsError
        InvalidRequest for an algorithm nobody knows, or for two.
    """
    named = [name[len(HEADER) :] for name in headers if name.startswith(HEADER)]
    named = [name for name in named if name not in ("mode", "type", "algorithm")]
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if trailer.startswith(HEADER):
        named.append(trailer[len(HEADER) :])
    if not named:
        return None
    if len(named) > 1 or named[0] not in ALGORITHMS:
        raise _unknown(named)
    return named[0], headers.get(HEADER + named[0])


def _unknown(named: Sequence[str]) -> AwsError:
    return AwsError(
        "InvalidRequest",
        f"Expecting a single x-amz-checksum- header, of {', '.join(sorted(ALGORITHMS))}; these came: "
        f"{', '.join(sorted(named))[:200]}.",
    )


def checksum_of(path: Path, algorithm: str) -> str:
    """That of a file.

    Raises
    ------
    AwsError
        InvalidRequest for an algorithm nobody knows.
    """
    if algorithm not in ALGORITHMS:
        raise _unknown([algorithm])
    digest = ALGORITHMS[algorithm]()
    with open(path, "rb") as file:
        while data := file.read(_BLOCK):
            digest.update(data)
    return base64_of(digest.digest())


class Checks:
    """Takes the bytes of a body and says at its end whether the headers told the truth."""

    def __init__(self, headers: Mapping[str, str], *, summed: bool = True) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._asked = asked(headers) if summed else None
        self._digest = ALGORITHMS[self._asked[0]]() if self._asked else None
        self._md5_claim = _decoded("Content-MD5", headers.get("content-md5"), 16)
        payload = headers.get("x-amz-content-sha256", "")
        self._sha256_claim = payload.lower() if len(payload) == 64 else None
        self._sha256 = hashlib.sha256() if self._sha256_claim else None

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self.size += len(data)
        self._md5.update(data)
        for digest in (self._digest, self._sha256):
            if digest is not None:
                digest.update(data)

    @property
    def md5(self) -> str:
        """MD5 in hexadecimal digits: the ETag."""
        return self._md5.hexdigest()

    def finish(self, trailers: Mapping[str, str]) -> dict[str, str]:
        """Compare; the checksum by its algorithm, where one was asked for.

        Raises
        ------
        AwsError
            BadDigest, XAmzContentSHA256Mismatch, InvalidDigest, IncompleteBody.
        """
        if self._sha256 is not None and self._sha256.hexdigest() != self._sha256_claim:
            raise AwsError(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed: "
                f"{self._sha256.hexdigest()} for the {self.size} bytes that came.",
            )
        if self._md5_claim is not None and self._md5.digest() != self._md5_claim:
            raise AwsError(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received: "
                f"{base64_of(self._md5.digest())} for the {self.size} bytes that came.",
            )
        if self._asked is None or self._digest is None:
            return {}
        name, claim = self._asked
        claim = trailers.get(HEADER + name) if claim is None else claim
        found = self._digest.digest()
        if claim is None:
            raise AwsError("MalformedTrailerError", f"The trailer {HEADER}{name} was announced and did not come.")
        if _decoded(HEADER + name, claim, len(found)) != found:
            raise AwsError(
                "BadDigest",
                f"The {name.upper()} you specified did not match the calculated checksum: {claim} was given, "
                f"{base64_of(found)} is that of the {self.size} bytes that came.",
            )
        return {name: base64_of(found)}


def _decoded(header: str, text: str | None, size: int) -> bytes | None:
    if text is None:
        return None
    try:
        value = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != size:
        raise AwsError("InvalidDigest", f"The {header} you specified is not valid: {text[:100]!r}.")
    return value


def composite(algorithm: str, parts: Sequence[str]) -> str:
    """The checksum of an upload in parts: that of the parts' checksums, and how many there are."""
    digest = ALGORITHMS[algorithm]()
    digest.update(b"".join(base64.b64decode(part) for part in parts))
    return f"{base64_of(digest.digest())}-{len(parts)}"


def whole(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """The CRC of the whole object, from those and the sizes of its parts.

    Raises
    ------
    AwsError
        InvalidRequest for what is no CRC.
    """
    crc: Crc | None = _CRCS.get(algorithm)
    if crc is None:
        raise AwsError("InvalidRequest", f"The checksum type FULL_OBJECT is not there for {algorithm.upper()}.")
    value = crc.joined([(int.from_bytes(base64.b64decode(text), "big"), size) for text, size in parts])
    return base64_of(value.to_bytes(crc.width // 8, "big"))


def headers_of(checksums: Mapping[str, str]) -> dict[str, Any]:
    """As an answer has them."""
    return {HEADER + name: value for name, value in checksums.items()}
