"""Checks AWS Signature Version 4 of every service: in a header, in a presigned address, and chunk by chunk.

Sources: AWS, "Create a signed AWS API request" (IAM user guide); "Authenticating Requests" and "Signature Calculations
for the Authorization Header: Transferring Payload in Multiple Chunks" (S3 API reference).
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vizsla.aws.errors import AwsError

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"
_CREDENTIAL = re.compile(r"([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_PARTS = re.compile(r"(Credential|SignedHeaders|Signature)=([^,\s]+)")
_MAX_SKEW = datetime.timedelta(minutes=15)
_MAX_PRESIGNED = 7 * 24 * 3600
_NOTHING = hashlib.sha256(b"").hexdigest()
_QUERY_SERVICES = ("sts", "iam")
_TEMPORARY = "ASIA"
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your secret access key and signing method."
)


@dataclass(frozen=True)
class Signed:
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
class _Claim:
    key_id: str
    scope: tuple[str, str, str, str]
    signed: tuple[str, ...]
    signature: str
    when: str
    lives: int | None = None
    """Seconds that a presigned address holds; None for a signature in a header."""


def verify(
    method: str,
    raw_path: bytes,
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    payload_sha256: str,
    keys: Mapping[str, str],
    *,
    s3: bool = False,
    now: datetime.datetime | None = None,
) -> Signed:
    """Prove that somebody who has one of ``keys`` sent this request.

    Parameters
    ----------
    raw_path, query, headers:
        As they came.
    payload_sha256:
        Hexadecimal digits; for S3 whatever its header x-amz-content-sha256 says.
    keys:
        Secret key by access key id.
    s3:
        The path is signed as it was sent, the signature may lie in the query, and errors are in S3's words.

    Raises
    ------
    AwsError
        403 in the words of the service.
    """
    fields = _fields(headers)
    pairs = _pairs(query)
    presigned = s3 and any(name == "X-Amz-Signature" for name, _ in pairs)
    claim = _of_query(pairs) if presigned else _of_headers(fields, s3)
    secret = secret_of(claim.key_id, keys)
    if secret is None:
        raise _refusal("unknown-key", claim, s3)
    _check_time(claim, now or datetime.datetime.now(datetime.UTC), s3)
    if "host" not in claim.signed:
        raise _refusal("signature", claim, s3)
    unsigned = {name for name in fields if name.startswith("x-amz-")} - set(claim.signed)
    if unsigned and not presigned:
        names = ", ".join(sorted(unsigned))[:200]
        raise AwsError("AccessDenied", f"There were headers in the request which were not signed: {names}.", 403)
    path = raw_path.decode("latin-1") or "/"
    canonical = "\n".join(
        (
            method,
            path if s3 else urllib.parse.quote(path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in sorted(pairs) if name != "X-Amz-Signature" or not presigned),
            *(f"{name}:{' '.join(fields.get(name, '').split())}" for name in claim.signed),
            "",
            ";".join(claim.signed),
            UNSIGNED if presigned and "x-amz-content-sha256" not in fields else payload_sha256,
        )
    )
    scope = "/".join(claim.scope)
    text = "\n".join((_ALGORITHM, claim.when, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = _signing_key(secret, claim.scope)
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), claim.signature):
        raise _refusal("signature", claim, s3)
    return Signed(claim.key_id, claim.when, scope, claim.signature, key)


def secret_of(key_id: str, keys: Mapping[str, str]) -> str | None:
    """The secret of an access key, also of one that :func:`temporary` gave; None where nobody knows it."""
    if key_id in keys:
        return keys[key_id]
    return _derived(key_id, keys) if key_id.startswith(_TEMPORARY) and keys else None


def temporary(name: str, keys: Mapping[str, str]) -> tuple[str, str]:
    """Access key id and secret for a role: the secret follows from the id, so that nothing need be remembered."""
    key_id = _TEMPORARY + base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:16]
    return key_id, _derived(key_id, keys)


def _derived(key_id: str, keys: Mapping[str, str]) -> str:
    root = "\n".join(f"{name} {secret}" for name, secret in sorted(keys.items()))
    return base64.b64encode(hmac.digest(root.encode(), key_id.encode(), "sha256"))[:40].decode()


def _signing_key(secret: str, scope: tuple[str, ...]) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _fields(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), value.decode("utf-8", "replace")
        fields[name] = f"{fields[name]},{text}" if name in fields else text
    return fields


def _pairs(query: bytes) -> list[tuple[str, str]]:
    """Encoded as they are signed, whatever way they were sent: some clients send ``+`` for a blank and sign ``%20``."""
    parts = [pair.partition("=") for pair in query.decode("latin-1").split("&") if pair]
    return [(_encoded(name), _encoded(value)) for name, _, value in parts]


def _encoded(text: str) -> str:
    return urllib.parse.quote(urllib.parse.unquote_to_bytes(text.replace("+", " ")), safe="-_.~")


def _of_headers(fields: Mapping[str, str], s3: bool) -> _Claim:
    header = fields.get("authorization", "").strip()
    if not header:
        if s3:
            raise AwsError("AccessDenied", "Access Denied: the request is not signed, and this server has keys.", 403)
        raise AwsError("MissingAuthenticationToken", "Missing Authentication Token: the request is not signed.", 403)
    parts = dict(_PARTS.findall(header))
    credential = _CREDENTIAL.fullmatch(parts.get("Credential", ""))
    if not header.startswith(_ALGORITHM + " ") or credential is None or len(parts) != 3:
        raise AwsError(
            "InvalidRequest" if s3 else "IncompleteSignature",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
            400,
        )
    key_id, date, region, service = credential.groups()
    return _Claim(
        key_id,
        (date, region, service, "aws4_request"),
        tuple(parts["SignedHeaders"].split(";")),
        parts["Signature"],
        fields.get("x-amz-date", ""),
    )


def _of_query(pairs: Sequence[tuple[str, str]]) -> _Claim:
    fields = {name: urllib.parse.unquote(value) for name, value in pairs}
    credential = _CREDENTIAL.fullmatch(fields.get("X-Amz-Credential", ""))
    lives = fields.get("X-Amz-Expires", "")
    if credential is None or not lives.isdecimal() or not 0 < int(lives) <= _MAX_PRESIGNED:
        raise AwsError(
            "AuthorizationQueryParametersError",
            "Query-string authentication requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, "
            f"X-Amz-SignedHeaders, and X-Amz-Expires parameters; the last is 1 to {_MAX_PRESIGNED} seconds.",
        )
    key_id, date, region, service = credential.groups()
    return _Claim(
        key_id,
        (date, region, service, "aws4_request"),
        tuple(fields.get("X-Amz-SignedHeaders", "").split(";")),
        fields["X-Amz-Signature"],
        fields.get("X-Amz-Date", ""),
        int(lives),
    )


def _check_time(claim: _Claim, now: datetime.datetime, s3: bool) -> None:
    try:
        signed_at = datetime.datetime.strptime(claim.when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise AwsError("AccessDenied", f"{claim.when!r} is no time of signing (X-Amz-Date).", 403) from error
    if not claim.when.startswith(claim.scope[0]):
        raise _refusal("signature", claim, s3)
    if claim.lives is not None:
        if now > signed_at + datetime.timedelta(seconds=claim.lives):
            raise AwsError("AccessDenied", "Request has expired", 403)
        if now < signed_at - _MAX_SKEW:
            raise AwsError("AccessDenied", "Request is not yet valid", 403)
    elif abs(now - signed_at) > _MAX_SKEW:
        if s3:
            raise AwsError(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large: "
                f"{claim.when} is not near {now:%Y%m%dT%H%M%SZ}.",
                403,
            )
        words = f"Signature expired: {claim.when} is not near {now:%Y%m%dT%H%M%SZ}."
        raise AwsError("InvalidSignatureException", words, 403)


def _refusal(kind: str, claim: _Claim, s3: bool) -> AwsError:
    query = claim.scope[2] in _QUERY_SERVICES
    if kind == "unknown-key":
        if s3:
            return AwsError(
                "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403
            )
        code = "InvalidClientTokenId" if query else "UnrecognizedClientException"
        return AwsError(code, "The security token included in the request is invalid.", 403)
    return AwsError("SignatureDoesNotMatch" if s3 or query else "InvalidSignatureException", _MISMATCH, 403)
