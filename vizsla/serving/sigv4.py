"""Checks AWS Signature Version 4 of every service: in headers, in a presigned address, and chunk by chunk.

Sources: AWS, "Create a signed AWS API request" (IAM user guide); "Authenticating Requests" and "Signature Calculations
for the Authorization Header: Transferring Payload in Multiple Chunks" (S3 API reference).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNSIGNED = "UNSIGNED-PAYLOAD"
"""What stands for the SHA-256 of a body that is not signed."""
_ALGORITHM = "AWS4-HMAC-SHA256"
_CREDENTIAL = re.compile(r"([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_PARTS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_MAX_SKEW = datetime.timedelta(minutes=15)
_MAX_PRESIGNED = 7 * 24 * 3600
_NOTHING = hashlib.sha256(b"").hexdigest()
_NEVER_SIGNED = frozenset(("x-amzn-trace-id",))
"""Proxies on the way change it, so that botocore leaves it out."""


class SignatureError(Exception):
    """A signature that proves nothing. How that is answered is the affair of each service.

    Parameters
    ----------
    problem:
        ``missing``, ``unsupported``, ``address`` (what a presigned one needs), ``scope``, ``unsigned`` (headers that
        are not covered), ``time`` (none), ``skewed``, ``expired``, ``early`` or ``mismatch``.
    words:
        One sentence.
    """

    def __init__(self, problem: str, words: str) -> None:
        self.problem, self.words = problem, words
        super().__init__(f"{problem}: {words}")


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers, as it came. ``s3``: that service signs paths as they are sent, and queries encoded anew.
    ``payload_sha256`` is in hexadecimal digits; for S3 whatever its header x-amz-content-sha256 says."""

    method: str
    raw_path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    payload_sha256: str
    s3: bool = False


@dataclass(frozen=True)
class Signature:
    """Who signed a request, proved; also what signs the chunks of its body."""

    key_id: str
    when: str
    """The time of signing, ``20261129T170000Z``."""
    scope: str
    """``20261129/us-east-1/s3/aws4_request``."""
    signature: str
    key: bytes = field(repr=False)

    def chunk(self, previous: str, sha256: str) -> str:
        """The signature of a chunk, after the one before it."""
        return self._sign(f"{_ALGORITHM}-PAYLOAD", previous, f"{_NOTHING}\n{sha256}")

    def trailer(self, previous: str, sha256: str) -> str:
        """The signature of the lines after the last chunk."""
        return self._sign(f"{_ALGORITHM}-TRAILER", previous, sha256)

    def _sign(self, kind: str, previous: str, rest: str) -> str:
        text = "\n".join((kind, self.when, self.scope, previous, rest))
        return hmac.digest(self.key, text.encode(), "sha256").hex()


@dataclass(frozen=True)
class Claim:
    """Who signed a request, as its headers or its address say. Only :meth:`verify`, which needs the body, proves it."""

    key_id: str
    scope: tuple[str, str, str, str]
    """Date, region, service, ``aws4_request``."""
    signed: tuple[str, ...]
    signature: str
    when: str
    lives: int | None = None
    """Seconds that a presigned address holds; None for a signature in a header."""

    @property
    def service(self) -> str:
        """The service that it was signed for."""
        return self.scope[2]

    def check(self, headers: Mapping[str, str], now: datetime.datetime) -> None:
        """What can be checked without the body.

        Parameters
        ----------
        headers:
            With lower-case names.
        now:
            The time, with time zone.

        Raises
        ------
        SignatureError
            ``scope``, ``unsigned``, ``time``, ``skewed``, ``expired`` or ``early``.
        """
        self._check_time(now)
        if not self.when.startswith(self.scope[0]) or "host" not in self.signed:
            raise SignatureError("scope", "Credential should be scoped to correct service and date, and cover host.")
        unsigned = {name for name in headers if name.startswith("x-amz")} - {*self.signed, *_NEVER_SIGNED}
        if unsigned and self.lives is None:
            names = ", ".join(sorted(unsigned))[:200]
            raise SignatureError("unsigned", f"There are headers which were not signed: {names}.")

    def _check_time(self, now: datetime.datetime) -> None:
        try:
            signed_at = datetime.datetime.strptime(self.when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        except ValueError as error:
            raise SignatureError("time", f"{self.when!r} is no time of signing (X-Amz-Date).") from error
        if self.lives is None:
            if abs(now - signed_at) > _MAX_SKEW:
                raise SignatureError("skewed", f"Signature expired: {self.when} is not near {now:%Y%m%dT%H%M%SZ}.")
        elif now > signed_at + datetime.timedelta(seconds=self.lives):
            raise SignatureError("expired", "Request has expired")
        elif now < signed_at - _MAX_SKEW:
            raise SignatureError("early", "Request is not yet valid")

    def verify(self, request: SignedRequest, secret: str) -> Signature:
        """Compute the signature and compare.

        Raises
        ------
        SignatureError
            ``mismatch``.
        """
        headers = fields_of(request.headers)
        path = request.raw_path.decode("latin-1") or "/"
        presigned = self.lives is not None
        canonical = "\n".join(
            (
                request.method,
                path if request.s3 else urllib.parse.quote(path, safe="/-_.~"),
                _canonical_query(request),
                *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in self.signed),
                "",
                ";".join(self.signed),
                UNSIGNED if presigned and "x-amz-content-sha256" not in headers else request.payload_sha256,
            )
        )
        scope = "/".join(self.scope)
        text = "\n".join((_ALGORITHM, self.when, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        key = f"AWS4{secret}".encode()
        for part in self.scope:
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex().encode(), self.signature.encode()):
            raise SignatureError(
                "mismatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your secret access key and signing method.",
            )
        return Signature(self.key_id, self.when, scope, self.signature, key)


def fields_of(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name, those that came twice joined, as they are signed."""
    fields: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), value.decode("utf-8", "replace")
        fields[name] = f"{fields[name]},{text}" if name in fields else text
    return fields


def is_presigned(query: bytes) -> bool:
    """Whether an address holds a signature."""
    return any(name == "X-Amz-Signature" for name, _ in _pairs(query))


def claim_of_headers(headers: Mapping[str, str]) -> Claim:
    """What the header ``Authorization`` claims.

    Raises
    ------
    SignatureError
        ``missing`` or ``unsupported``.
    """
    header = headers.get("authorization", "").strip()
    if not header:
        raise SignatureError("missing", "The request is not signed.")
    parts = dict(_PARTS.findall(header))
    credential = _CREDENTIAL.fullmatch(parts.get("Credential", ""))
    if not header.startswith(_ALGORITHM + " ") or credential is None or len(parts) != 3:
        raise SignatureError(
            "unsupported",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        )
    key_id, date, region, service = credential.groups()
    return Claim(
        key_id,
        (date, region, service, "aws4_request"),
        tuple(parts["SignedHeaders"].split(";")),
        parts["Signature"],
        headers.get("x-amz-date", ""),
    )


def claim_of_query(query: bytes) -> Claim:
    """What a presigned address claims.

    Raises
    ------
    SignatureError
        ``address``.
    """
    fields = {name: urllib.parse.unquote(value) for name, value in _pairs(query)}
    credential = _CREDENTIAL.fullmatch(fields.get("X-Amz-Credential", ""))
    lives = fields.get("X-Amz-Expires", "")
    if credential is None or not lives.isdecimal() or not 0 < int(lives) <= _MAX_PRESIGNED:
        raise SignatureError(
            "address",
            "Query-string authentication requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, "
            f"X-Amz-SignedHeaders, and X-Amz-Expires parameters; the last is 1 to {_MAX_PRESIGNED} seconds.",
        )
    key_id, date, region, service = credential.groups()
    return Claim(
        key_id,
        (date, region, service, "aws4_request"),
        tuple(fields.get("X-Amz-SignedHeaders", "").split(";")),
        fields["X-Amz-Signature"],
        fields.get("X-Amz-Date", ""),
        int(lives),
    )


def _canonical_query(request: SignedRequest) -> str:
    """In order. Clients sign what they send, encoded already; but of S3's some send ``+`` for a blank and sign
    ``%20``."""
    if request.s3:
        pairs = [pair for pair in _pairs(request.query) if pair[0] != "X-Amz-Signature"]
    else:
        pairs = [(name, value) for name, _, value in _parts(request.query)]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _pairs(query: bytes) -> list[tuple[str, str]]:
    return [(_encoded(name), _encoded(value)) for name, _, value in _parts(query)]


def _parts(query: bytes) -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in query.decode("latin-1").split("&") if pair]


def _encoded(text: str) -> str:
    return urllib.parse.quote(urllib.parse.unquote_to_bytes(text.replace("+", " ")), safe="-_.~")
