"""Signatures of every service, refused in the words of that service; and credentials that a server gives by itself."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from vizsla.aws.errors import AwsError
from vizsla.serving.sigv4 import (
    Claim,
    Signature,
    SignatureError,
    SignedRequest,
    claim_of_headers,
    claim_of_query,
    fields_of,
    is_presigned,
)

_TEMPORARY = "ASIA"
_QUERY_SERVICES = ("sts", "iam")
_JSON_CODES = {
    "missing": "MissingAuthenticationToken",
    "unsupported": "IncompleteSignature",
    "unknown": "UnrecognizedClientException",
    "scope": "InvalidSignatureException",
    "skewed": "InvalidSignatureException",
    "mismatch": "InvalidSignatureException",
}
_QUERY_CODES = _JSON_CODES | {
    "unknown": "InvalidClientTokenId",
    "scope": "SignatureDoesNotMatch",
    "skewed": "SignatureDoesNotMatch",
    "mismatch": "SignatureDoesNotMatch",
}
_S3_CODES = {
    "unsupported": "InvalidRequest",
    "address": "AuthorizationQueryParametersError",
    "unknown": "InvalidAccessKeyId",
    "scope": "SignatureDoesNotMatch",
    "skewed": "RequestTimeTooSkewed",
    "mismatch": "SignatureDoesNotMatch",
}
"""AWS's codes by :attr:`SignatureError.problem`; of all others it is AccessDenied."""
_BAD_REQUEST = ("unsupported", "address")


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
) -> Signature:
    """Prove that somebody who has one of ``keys`` sent this request; the others as :class:`SignedRequest` has them.

    Parameters
    ----------
    keys:
        Secret key by access key id.

    Raises
    ------
    AwsError
        403, or 400, in the words of the service.
    """
    fields = fields_of(headers)
    claim: Claim | None = None
    try:
        claim = claim_of_query(query) if s3 and is_presigned(query) else claim_of_headers(fields)
        secret = secret_of(claim.key_id, keys)
        if secret is None:
            raise SignatureError("unknown", _UNKNOWN_TO_S3 if s3 else _UNKNOWN)
        claim.check(fields, now or datetime.datetime.now(datetime.UTC))
        return claim.verify(SignedRequest(method, raw_path, query, headers, payload_sha256, s3), secret)
    except SignatureError as error:
        codes = _JSON_CODES if claim is None or claim.service not in _QUERY_SERVICES else _QUERY_CODES
        code = (_S3_CODES if s3 else codes).get(error.problem, "AccessDenied")
        raise AwsError(code, error.words, 400 if error.problem in _BAD_REQUEST else 403) from error


_UNKNOWN = "The security token included in the request is invalid."
_UNKNOWN_TO_S3 = "The AWS Access Key Id you provided does not exist in our records."


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
