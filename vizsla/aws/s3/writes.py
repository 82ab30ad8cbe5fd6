"""The operations that write and remove objects: PutObject, CopyObject, DeleteObject, DeleteObjects."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from vizsla.aws.errors import AwsError
from vizsla.aws.s3 import conditions, xml
from vizsla.aws.s3 import metadata as meta
from vizsla.aws.s3.calls import Answer, Call, document, iso
from vizsla.aws.s3.checksums import checksum_of, headers_of
from vizsla.aws.s3.keys import names_of
from vizsla.aws.s3.metadata import Metadata
from vizsla.aws.s3.objects import OpenObject, copy_range, etag_of, incoming, open_object, put_in_place, remove
from vizsla.aws.s3.places import find_bucket
from vizsla.aws.s3.uploads import md5_of

_MOST_KEYS = 1000
_CHANGES = ("x-amz-storage-class", "x-amz-server-side-encryption")
"""Headers that make a copy of an object to itself legal; all objects here are of one class, on this disk."""


def check_put(call: Call) -> None:
    """What can be refused before the body has come."""
    names_of(call.request.key)
    call.request.user_metadata()
    if check := conditions.of_write(call.request.headers):
        check(etag_of(call.made_bucket, call.request.key))


def put_object(call: Call) -> Answer:
    """The content that has come becomes an object."""
    request, content = call.request, call.received
    made = Metadata(content.md5, request.kept_headers(), request.user_metadata(), dict(content.checksums))
    meta.keep(content.file, made)
    put_in_place(call.made_bucket, request.key, content.path, conditions.of_write(request.headers))
    return Answer(headers={"etag": f'"{made.etag}"', **headers_of(made.checksums)})


def copy_object(call: Call) -> Answer:
    """An object of this server under another key, with its metadata or with new ones."""
    request = call.request
    directive = request.headers.get("x-amz-metadata-directive", "COPY").upper()
    root = call.made_bucket
    with opened_source(call) as source:
        same = source_of(call) == (request.bucket, request.key)
        if same and directive == "COPY" and not any(header in request.headers for header in _CHANGES):
            raise AwsError(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata, storage class, website redirect location or encryption attributes.",
            )
        with incoming(call.site.home, root) as path:
            with open(path, "xb", buffering=0) as target:
                copy_range(source.file, target, 0, source.size)
                made = _copied_metadata(call, source, directive, path)
                meta.keep(target.fileno(), made)
                modified = path.stat().st_mtime
            put_in_place(root, request.key, path, conditions.of_write(request.headers))
    sums = {f"Checksum{name.upper()}": value for name, value in made.checksums.items()}
    return document("CopyObjectResult", {"ETag": f'"{made.etag}"', "LastModified": iso(modified), **sums})


def _copied_metadata(call: Call, source: OpenObject, directive: str, path: Path) -> Metadata:
    old = source.metadata
    headers, user = old.headers, old.user
    if directive == "REPLACE":
        headers, user = call.request.kept_headers(), call.request.user_metadata()
    etag = old.etag
    if "-" in etag:  # of an upload in parts, or of a job's file: the copy is one piece
        etag = md5_of(path)
    checksums = {name: value for name, value in old.checksums.items() if "-" not in value}
    wanted = call.request.headers.get("x-amz-checksum-algorithm", "").lower()
    if wanted and wanted not in checksums:
        checksums = {wanted: checksum_of(path, wanted)}
    return Metadata(etag, headers, user, checksums)


def source_of(call: Call) -> tuple[str, str]:
    """Bucket and key of the object that is to be copied.

    Raises
    ------
    AwsError
        InvalidArgument.
    """
    text, _, version = call.request.headers["x-amz-copy-source"].partition("?")
    if version and version != "versionId=null":
        raise AwsError("NotImplemented", "There are no versions of objects here.", 501)
    bucket, _, key = urllib.parse.unquote(text).removeprefix("/").partition("/")
    if not bucket or not key:
        raise AwsError("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
    return bucket, key


@contextlib.contextmanager
def opened_source(call: Call) -> Iterator[OpenObject]:
    """The object that is to be copied, its conditions checked.

    Raises
    ------
    AwsError
        NoSuchBucket, NoSuchKey, PreconditionFailed.
    """
    bucket, key = source_of(call)
    with contextlib.closing(open_object(find_bucket(call.site.home, bucket), key)) as source:
        conditions.check_source(call.request.headers, source.metadata.etag, source.modified)
        yield source


def delete_object(call: Call) -> Answer:
    """Nothing is there afterwards, whether there was something or not."""
    remove(call.bucket, call.request.key, conditions.of_write(call.request.headers))
    return Answer(204)


def delete_objects(call: Call) -> Answer:
    """Up to 1,000 at once."""
    bucket, root = call.bucket, xml.read(call.body)
    entries = root.findall("Object")
    if root.tag != "Delete" or not 0 < len(entries) <= _MOST_KEYS:
        raise AwsError(
            "MalformedXML", f"The XML you provided was not well-formed: Delete with 1 to {_MOST_KEYS} Objects."
        )
    deleted, errors = [], []
    for entry in entries:
        key, etag = _key(entry), xml.text(entry, "ETag")
        try:
            remove(bucket, key, conditions.of_write({"if-match": etag} if etag else {}))
            deleted.append({"Key": key})
        except AwsError as error:
            errors.append({"Key": key, "Code": error.code, "Message": error.message})
    quiet = (xml.text(root, "Quiet") or "").lower() == "true"
    return document("DeleteResult", {"Deleted": [] if quiet else deleted, "Error": errors})


def _key(entry: Element) -> str:
    key = xml.text(entry, "Key")
    if not key:
        raise AwsError("MalformedXML", "The XML you provided was not well-formed: an Object has a Key.")
    return key
