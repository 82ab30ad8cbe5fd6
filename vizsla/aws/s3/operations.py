"""Which request is which operation: a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import buckets, lists, multipart, reads, writes
from vizsla.aws.s3.calls import Call, Operation
from vizsla.aws.s3.request import Request


@dataclass(frozen=True)
class Route:
    """An operation and what it needs of the body: nothing or a small document; with ``before``, content that becomes a
    file, and what is checked before it comes. ``of_object``: a checksum in the headers is the object's, not the body's.
    ``quick``: it takes less time than to hand it to a thread.
    """

    operation: Operation
    before: Callable[[Call], None] | None = None
    of_object: bool = False
    quick: bool = False


_BUCKET = {
    ("GET", ""): Route(lists.list_objects),
    ("GET", "list-type"): Route(lists.list_objects_v2),
    ("GET", "location"): Route(buckets.get_location),
    ("GET", "versioning"): Route(buckets.get_versioning),
    ("GET", "uploads"): Route(multipart.list_uploads),
    ("HEAD", ""): Route(buckets.head_bucket, quick=True),
    ("PUT", ""): Route(buckets.create_bucket),
    ("DELETE", ""): Route(buckets.delete_bucket),
    ("POST", "delete"): Route(writes.delete_objects),
}
_OBJECT = {
    ("GET", ""): Route(reads.get_object, quick=True),
    ("GET", "uploadId"): Route(multipart.list_parts),
    ("HEAD", ""): Route(reads.head_object, quick=True),
    ("PUT", ""): Route(writes.put_object, writes.check_put),
    ("PUT", "copy"): Route(writes.copy_object),
    ("PUT", "uploadId"): Route(multipart.upload_part, multipart.check_part),
    ("PUT", "uploadId copy"): Route(multipart.upload_part_copy),
    ("POST", "uploads"): Route(multipart.create_upload),
    ("POST", "uploadId"): Route(multipart.complete_upload, of_object=True),
    ("DELETE", ""): Route(writes.delete_object, quick=True),
    ("DELETE", "uploadId"): Route(multipart.abort_upload),
}
_OURS = ("list-type", "location", "versioning", "uploads", "delete", "uploadId")
_OTHERS = frozenset(
    "accelerate acl analytics attributes cors encryption intelligent-tiering inventory legal-hold lifecycle logging "
    "metadataTable metrics notification object-lock ownershipControls policy policyStatus publicAccessBlock "
    "renameObject replication requestPayment restore retention select session tagging torrent versionId versions "
    "website".split()
)
"""Parts of S3 that are asked for in the query and are not here."""
_OTHERS_HEADERS = (
    "x-amz-object-lock-mode",
    "x-amz-object-lock-legal-hold",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-write-offset-bytes",
    "x-amz-if-match-size",
    "x-amz-if-match-last-modified-time",
)
"""The same of headers: to pass over these would lose what a client means to lock, to hide or to add to."""


def route_of(request: Request) -> Route:
    """The operation that a request asks for.

    Raises
    ------
    AwsError
        NotImplemented, MethodNotAllowed.
    """
    query = request.query
    foreign = sorted(_OTHERS & query.keys())
    if foreign and (foreign != ["versionId"] or query["versionId"] != "null"):
        raise AwsError("NotImplemented", f"S3's {foreign[0]!r} is not offered here: buckets are folders.", 501)
    for header in _OTHERS_HEADERS:
        if request.headers.get(header, "").lower() not in ("", "false", "off"):
            raise AwsError("NotImplemented", f"{header} is not offered here: buckets are folders.", 501)
    if not request.bucket:
        if request.method in ("GET", "HEAD") and not request.key:
            return Route(buckets.list_buckets)
        raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.", 405)
    parts = [name for name in _OURS if name in query]
    if request.key and request.method == "PUT" and "x-amz-copy-source" in request.headers:
        parts.append("copy")
    route = (_OBJECT if request.key else _BUCKET).get((request.method, " ".join(parts)))
    if route is None:
        raise AwsError(
            "MethodNotAllowed",
            f"{request.method} of {'an object' if request.key else 'a bucket'}"
            f"{' with ' + ', '.join(parts) if parts else ''} is not offered here.",
            405,
        )
    return route
