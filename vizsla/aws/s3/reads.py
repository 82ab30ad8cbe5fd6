"""The operations that read an object: GetObject and HeadObject."""

from __future__ import annotations

import re

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import conditions
from vizsla.aws.s3.calls import Answer, Call, object_headers
from vizsla.aws.s3.checksums import headers_of
from vizsla.aws.s3.objects import OpenObject, open_object
from vizsla.aws.s3.request import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_OVERRIDES = {
    f"response-{name}": name
    for name in (
        "content-type",
        "content-language",
        "expires",
        "cache-control",
        "content-disposition",
        "content-encoding",
    )
}


def get_object(call: Call) -> Answer:
    """The bytes, or a range of them."""
    return _read(call, body=True)


def head_object(call: Call) -> Answer:
    """What there is to say of an object."""
    return _read(call, body=False)


def _read(call: Call, *, body: bool) -> Answer:
    request = call.request
    found = open_object(call.bucket, request.key)
    kept = False
    try:
        conditions.check_read(request.headers, found.metadata.etag, found.modified)
        headers = object_headers(found.metadata, found.modified)
        for parameter, name in _OVERRIDES.items():
            if parameter in request.query:
                headers[name] = request.query[parameter]
        if "partNumber" in request.query:
            start, count, partial = _part(request, found)
        else:
            start, count, partial = _range(request.headers.get("range", ""), found)
        if partial:
            headers["content-range"] = f"bytes {start}-{start + count - 1}/{found.size}"
        elif request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers |= headers_of(found.metadata.checksums)
        headers["content-length"] = str(count)
        kept = body and count > 0
        return Answer(206 if partial else 200, headers, b"", found if kept else None, start, count)
    finally:
        if not kept:
            found.close()


def _part(request: Request, found: OpenObject) -> tuple[int, int, bool]:
    """The same of a part by its number: an object is one file here, and one part."""
    if "range" in request.headers:
        raise AwsError("InvalidRequest", "Cannot specify both Range header and partNumber query parameter.")
    if request.number("partNumber", 1, 10_000, 1) != 1:
        raise AwsError("InvalidPartNumber", "The requested partnumber is not satisfiable: the object is one part.", 416)
    return 0, found.size, found.size > 0


def _range(header: str, found: OpenObject) -> tuple[int, int, bool]:
    """Start, count, and whether it is a part. What is no single range is passed over (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return 0, found.size, False
    first, last = match.groups()
    if not first:
        count = min(int(last), found.size)
        start = found.size - count
    else:
        start = int(first)
        if last and int(last) < start:
            return 0, found.size, False
        count = (min(int(last), found.size - 1) if last else found.size - 1) - start + 1
    if count <= 0:
        raise AwsError(
            "InvalidRange", f"The requested range is not satisfiable: {header[:100]} of {found.size} bytes.", 416
        )
    return start, count, True
