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
from dataclasses import dataclass

from vizsla.serving.faults import RequestError

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*"
    r"SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_MAX_SKEW = datetime.timedelta(minutes=15)
_SERVICE = "sagemaker"


@dataclass(frozen=True)
class SignedRequest:
    """What a signature covers. ``path`` is as it was sent; ``headers`` have lower-case names."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def check_signature(request: SignedRequest, secrets: Mapping[str, str], now: datetime.datetime) -> str:
    """Verify a request; returns the access key id.

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
    match = _AUTHORIZATION.fullmatch(request.headers.get("authorization", "").strip())
    if not match:
        raise RequestError(
            "credentials",
            "The request is not signed.",
            where="header Authorization",
            allowed="AWS Signature Version 4 (boto3 signs by itself), or an API key in x-api-key",
        )
    key_id, date, region, service, signed, signature = match.groups()
    names = signed.split(";")
    when = request.headers.get("x-amz-date", "")
    if key_id not in secrets:
        raise RequestError("credentials", "The security token included in the request is invalid.", where=key_id)
    if service != _SERVICE or not when.startswith(date) or not {"host", "x-amz-date"} <= set(names):
        raise RequestError("signature", "Credential should be scoped to correct service and date.", where=service)
    try:
        signed_at = datetime.datetime.strptime(when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise RequestError("signature", f"{when!r} is no time.", where="header X-Amz-Date") from error
    if abs(now - signed_at) > _MAX_SKEW:
        raise RequestError("signature", f"Signature expired: {when} is not near {now:%Y%m%dT%H%M%SZ}.")
    canonical = "\n".join(
        (
            request.method,
            urllib.parse.quote(request.path, safe="/-_.~"),
            _canonical_query(request.query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            signed,
            hashlib.sha256(request.body).hexdigest(),
        )
    )
    scope = f"{date}/{region}/{service}/aws4_request"
    to_sign = "\n".join(("AWS4-HMAC-SHA256", when, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secrets[key_id]}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), signature):
        raise RequestError(
            "signature",
            "The request signature we calculated does not match the signature you provided. "
            "Check your secret access key and signing method.",
        )
    return key_id


def _canonical_query(query: str) -> str:
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    return "&".join(
        sorted(f"{urllib.parse.quote(n, safe='-_.~')}={urllib.parse.quote(v, safe='-_.~')}" for n, v in pairs)
    )
