"""Presigned addresses of Signature Version 2, which boto3 still makes in us-east-1 where nothing else is asked for.

Source: AWS, "Signing and Authenticating REST Requests" (S3 API reference, Signature Version 2), query string requests.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.request import Request, bucket_of_host
from vizsla.aws.signature import secret_of

_SIGNED_PARAMETERS = frozenset(
    "accelerate acl cors delete lifecycle location logging notification partNumber policy requestPayment restore "
    "response-cache-control response-content-disposition response-content-encoding response-content-language "
    "response-content-type response-expires select select-type tagging torrent uploadId uploads versionId versioning "
    "versions website".split()
)
"""Parameters of the query that a signature covers."""


def is_presigned(request: Request) -> bool:
    """Whether an address holds such a signature."""
    return "AWSAccessKeyId" in request.query and "Signature" in request.query


def verify(request: Request, keys: Mapping[str, str], now: float) -> None:
    """Prove that somebody who has one of ``keys`` made this address, and that it still holds.

    Raises
    ------
    AwsError
        403, in S3's words.
    """
    query = request.query
    secret = secret_of(query["AWSAccessKeyId"], keys)
    if secret is None:
        raise AwsError("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403)
    expires = query.get("Expires", "")
    if not expires.isdecimal() or int(expires) < now:
        raise AwsError("AccessDenied", "Request has expired", 403)
    signature = base64.b64encode(hmac.digest(secret.encode(), _text(request, expires).encode(), "sha1"))
    if not hmac.compare_digest(signature, query["Signature"].encode()):
        raise AwsError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your secret access key and signing method.",
            403,
        )


def _text(request: Request, expires: str) -> str:
    """What is signed. A header that begins with ``x-amz-`` may be in the query instead."""
    fields = {**request.query, **request.headers}
    named = {name.lower(): value for name, value in fields.items()}
    own = "".join(f"{name}:{value.strip()}\n" for name, value in sorted(named.items()) if name.startswith("x-amz-"))
    covered = sorted(_SIGNED_PARAMETERS & request.query.keys())
    parameters = "&".join(f"{name}={request.query[name]}" if request.query[name] else name for name in covered)
    path = request.scope["raw_path"].decode("latin-1")
    if bucket := bucket_of_host(request.headers.get("host", "")):
        path = f"/{bucket}{path}"
    resource = f"{path}?{parameters}" if parameters else path
    head = (request.method, named.get("content-md5", ""), named.get("content-type", ""), expires)
    return "\n".join((*head, own + resource))
