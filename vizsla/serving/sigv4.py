"""Checks AWS Signature Version 4, as botocore signs a request to ``sagemaker-runtime``.

Source: AWS, "Create a signed AWS API request" (IAM user guide).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from vizsla.serving.faults import RequestError

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_MAX_SKEW = datetime.timedelta(minutes=15)
_SERVICE = "sagemaker"
_NEVER_SIGNED = frozenset(("x-amzn-trace-id",))
"""Proxies on the way change it, so that botocore leaves it out."""


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers. ``path`` is as it was sent; ``headers`` have lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Claim:
    """Who signed a request, as its headers say. Only :meth:`verify`, which needs the body, proves it."""

    secret: str = field(repr=False)
    when: str
    scope: tuple[str, str, str, str]
    signed: tuple[str, ...]
    signature: str

    def verify(self, request: SignedRequest) -> None:
        """Compute the signature and compare.

        Raises
        ------
        RequestError
            ``signature``.
        """
        canonical = "\n".join(
            (
                request.method,
                urllib.parse.quote(request.path, safe="/-_.~"),
                _canonical_query(request.query),
                *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in self.signed),
                "",
                ";".join(self.signed),
                hashlib.sha256(request.body).hexdigest(),
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = "\n".join(("AWS4-HMAC-SHA256", self.when, "/".join(self.scope), digest))
        key = f"AWS4{self.secret}".encode()
        for part in self.scope:
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), self.signature):
            raise RequestError(
                "signature",
                "The request signature we calculated does not match the signature you provided. "
                "Check your secret access key and signing method.",
            )


def read_claim(headers: Mapping[str, str], secrets: Mapping[str, str], now: datetime.datetime) -> Claim:
    """What the headers of a signed request claim, as far as it can be checked without the body.

    Parameters
    ----------
    secrets:
        Secret key by access key id.
    now:
        The time, with time zone.

    Raises
    ------
    RequestError
        ``credentials`` or ``signature``.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", "").strip())
    if not match:
        raise RequestError(
            "credentials",
            "The request is not signed.",
            where="header Authorization",
            allowed="AWS Signature Version 4 (boto3 signs by itself), or an API key in x-api-key",
        )
    key_id, date, region, service, signed, signature = match.groups()
    names = tuple(signed.split(";"))
    when = headers.get("x-amz-date", "")
    if key_id not in secrets:
        raise RequestError("credentials", "The security token included in the request is invalid.", where=key_id)
    if service != _SERVICE or not when.startswith(date) or not {"host", "x-amz-date"} <= set(names):
        raise RequestError("signature", "Credential should be scoped to correct service and date.", where=service)
    unsigned = {name for name in headers if name.startswith("x-amz")} - {*names, *_NEVER_SIGNED}
    if unsigned:
        raise RequestError(
            "signature", f"There are headers which were not signed: {', '.join(sorted(unsigned))[:200]}."
        )
    try:
        signed_at = datetime.datetime.strptime(when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise RequestError("signature", f"{when!r} is no time.", where="header X-Amz-Date") from error
    if abs(now - signed_at) > _MAX_SKEW:
        raise RequestError("signature", f"Signature expired: {when} is not near {now:%Y%m%dT%H%M%SZ}.")
    return Claim(secrets[key_id], when, (date, region, service, "aws4_request"), names, signature)


def _canonical_query(query: str) -> str:
    """In order, as it was sent: clients sign what they send, encoded already, and a ``+`` is no blank to them."""
    pairs = sorted(pair.partition("=") for pair in query.split("&")) if query else []
    return "&".join(f"{name}={value}" for name, _, value in pairs)
