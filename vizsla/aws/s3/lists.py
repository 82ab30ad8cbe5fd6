"""The operations that list objects: ListObjects (V1) and ListObjectsV2."""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from collections.abc import Callable
from typing import Any

from vizsla.aws.errors import AwsError
from vizsla.aws.s3.calls import Answer, Call, document, iso
from vizsla.aws.s3.listing import Page, page

_MOST = 1000


def list_objects(call: Call) -> Answer:
    """The first form: ``marker`` is the last key that the client has seen."""
    query = call.request.query
    marker, delimiter = query.get("marker", ""), query.get("delimiter", "")
    found = _page(call, marker)
    spell = _spelling(call)
    tree = _common(call, found, spell)
    tree["Marker"] = spell(marker)
    if found.last is not None and delimiter:
        tree["NextMarker"] = spell(found.last)
    return document("ListBucketResult", tree | _items(call, found, spell, owner=True))


def list_objects_v2(call: Call) -> Answer:
    """The second form: a token of ours says where to go on; ``start-after`` begins behind a key."""
    query = call.request.query
    token, start = query.get("continuation-token"), query.get("start-after", "")
    found = _page(call, start if token is None else _opened(token))
    spell = _spelling(call)
    tree = _common(call, found, spell)
    tree["KeyCount"] = len(found.objects) + len(found.prefixes)
    tree["StartAfter"] = spell(start) if start else None
    tree["ContinuationToken"] = token
    tree["NextContinuationToken"] = None if found.last is None else _sealed(found.last)
    return document("ListBucketResult", tree | _items(call, found, spell, owner=query.get("fetch-owner") == "true"))


def _page(call: Call, after: str) -> Page:
    query = call.request.query
    most = call.request.number("max-keys", _MOST, _MOST)
    return page(call.bucket, query.get("prefix", ""), query.get("delimiter", ""), after, most)


def _spelling(call: Call) -> Callable[[str], str]:
    encoding = call.request.query.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise AwsError("InvalidArgument", "Invalid Encoding Method specified in Request")
    return (lambda text: urllib.parse.quote(text, safe="/*-._~")) if encoding else str


def _common(call: Call, found: Page, spell: Callable[[str], str]) -> dict[str, Any]:
    query = call.request.query
    return {
        "Name": call.request.bucket,
        "Prefix": spell(query.get("prefix", "")),
        "Delimiter": spell(query["delimiter"]) if query.get("delimiter") else None,
        "MaxKeys": call.request.number("max-keys", _MOST, _MOST),
        "EncodingType": query.get("encoding-type") or None,
        "IsTruncated": found.last is not None,
    }


def _items(call: Call, found: Page, spell: Callable[[str], str], *, owner: bool) -> dict[str, Any]:
    who = {"Owner": {"ID": call.site.account, "DisplayName": "vizsla"}} if owner else {}
    return {
        "Contents": [
            {
                "Key": spell(item.key),
                "LastModified": iso(item.modified),
                "ETag": f'"{item.etag}"',
                "Size": item.size,
                "StorageClass": "STANDARD",
                **who,
            }
            for item in found.objects
        ],
        "CommonPrefixes": [{"Prefix": spell(prefix)} for prefix in found.prefixes],
    }


def _sealed(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _opened(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise AwsError("InvalidArgument", "The continuation token provided is incorrect.") from error
